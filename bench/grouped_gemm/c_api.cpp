// The three products with a C ABI, for compare.py.
#include <cstdint>

#include "plait/kernels/grouped_gemm.hpp"

namespace {
plait::kernels::grouped_gemm_shape shape_of(const int* offsets, int experts, std::int64_t rows, int in, int out, unsigned* queue) {
  plait::kernels::grouped_gemm_shape shape;
  shape.layout = plait::kernels::expert_layout::contiguous(offsets, experts);
  shape.total_rows = rows;
  shape.in = in;
  shape.out = out;
  shape.queue = queue;
  return shape;
}
}  // namespace

extern "C" int plait_queue_words() { return plait::kernels::queue_words; }

extern "C" const char* plait_forward(const int* offsets, int experts, std::int64_t rows, int in, int out, const void* x,
                                     const void* w, void* y, unsigned* queue, CUstream_st* stream) {
  return plait::kernels::grouped_forward(shape_of(offsets, experts, rows, in, out, queue), x, w, y, stream);
}

extern "C" const char* plait_input_gradient(const int* offsets, int experts, std::int64_t rows, int in, int out, const void* dy,
                                            const void* w, void* dx, unsigned* queue, CUstream_st* stream) {
  return plait::kernels::grouped_input_gradient(shape_of(offsets, experts, rows, in, out, queue), dy, w, dx, stream);
}

extern "C" const char* plait_weight_gradient(const int* offsets, int experts, std::int64_t rows, int in, int out, const void* dy,
                                             const void* x, float* dw, int accumulate, unsigned* queue, CUstream_st* stream) {
  return plait::kernels::grouped_weight_gradient(shape_of(offsets, experts, rows, in, out, queue), dy, x, dw, accumulate != 0, stream);
}
