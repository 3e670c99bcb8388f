#include "plait/kernels/grouped_gemm/launch.cuh"

namespace plait::inline v0_1::kernels::grouped_gemm {

const char* rows_k_cooperative_192(const arguments& call) {
  return launch<config<192, schedule::cooperative, ragged::rows, major::k, major::k, output::bf16, 2>>(call);
}

}  // namespace plait::inline v0_1::kernels::grouped_gemm
