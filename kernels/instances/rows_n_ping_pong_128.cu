#include "plait/kernels/grouped_gemm/launch.cuh"

namespace plait::inline v0_1::kernels::grouped_gemm {

const char* rows_n_ping_pong_128(const arguments& call) {
  return launch<config<128, schedule::ping_pong, ragged::rows, major::k, major::mn, output::bf16, 2>>(call);
}

}  // namespace plait::inline v0_1::kernels::grouped_gemm
