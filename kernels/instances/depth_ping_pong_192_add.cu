#include "plait/kernels/grouped_gemm/launch.cuh"

namespace plait::inline v0_1::kernels::grouped_gemm {

const char* depth_ping_pong_192_add(const arguments& call) {
  return launch<config<192, schedule::ping_pong, ragged::depth, major::mn, major::mn, output::f32_add, 2>>(call);
}

}  // namespace plait::inline v0_1::kernels::grouped_gemm
