// Built for compute capability 8.0 (machine code and PTX), whatever the other instances are built for.
#include "plait/kernels/grouped_gemm/portable.cuh"

namespace plait::inline v0_1::kernels::grouped_gemm {

const char* rows_k_portable(const arguments& call) { return portable::launch<major::k, major::k>(call); }
const char* rows_n_portable(const arguments& call) { return portable::launch<major::k, major::mn>(call); }
const char* depth_portable(const arguments& call) { return portable::launch<major::mn, major::mn>(call); }

}  // namespace plait::inline v0_1::kernels::grouped_gemm
