#pragma once
// The CUDA function table: float32 (TF32 off) and bf16, one queue (a stream with its own memory) a rank. Plain declarations, for any
// host compiler; link plait::cuda.
#include "plait/runtime/backend.hpp"

namespace plait::inline v0_1 {

/// Null if a GPU of compute capability 8.0 or later can be used, else a sentence saying what is missing.
const char* cuda_missing();

/// Functions throw std::runtime_error when CUDA reports an error, std::bad_alloc when the GPU's memory is used up. Dense products come
/// from cuBLASLt, loaded when the first queue is opened. Environment: PLAIT_POISON=1 fills fresh memory with NaN,
/// PLAIT_PORTABLE_KERNELS=1 keeps to kernels that do not need a Hopper.
const backend& cuda_backend();

}  // namespace plait::inline v0_1
