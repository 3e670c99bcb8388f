#pragma once
// Grouped GEMM for mixture-of-experts layers, bf16 in, f32 accumulation: one product an expert over ragged rows, in one launch.
// Plain declarations: any host compiler may include this; the kernels are in kernels/instances.
#include <cstdint>

#include "plait/kernels/expert_layout.hpp"

struct CUstream_st;

namespace plait::inline v0_1::kernels {

// How an expert's weight lies in memory: [out, in] (a linear layer's usual form) or [in, out].
enum class weight_layout : int { out_in = 0, in_out = 1 };

// Tile and schedule; `automatic` asks the table in grouped_gemm/select.hpp.
// The first four are for activations, the next two for weight gradients.
enum class tile_choice : int {
  automatic = 0,
  cooperative_256,
  cooperative_192,
  ping_pong_192,
  ping_pong_128,
  ping_pong_192_update,
  ping_pong_192_add,
  portable,  // compute capability 8.0 and later, all products; the only one off Hopper
  count
};

inline constexpr int queue_words = 2 + 2048;

struct grouped_gemm_shape {
  expert_layout layout;     // rows an expert, on the device
  std::int64_t total_rows;  // rows of the activations' buffers
  int in = 0;               // multiples of 8
  int out = 0;
  weight_layout weights = weight_layout::out_in;
  // queue_words words on the device, zero before the first launch and left zero by every launch; launches that may run at the same
  // time need their own. With them the multiprocessors draw work as they become free, and a weight gradient whose rows lie in few
  // experts is cut along the rows; without, work is dealt in turn, which uneven experts slow.
  unsigned* queue = nullptr;
};

// Each returns null, or a sentence saying what is wrong. Pointers are device pointers aligned to 16 bytes. Rows that no expert owns
// are neither read into a result nor written.

// y[r, out] = x[r, in] * w[e]
const char* grouped_forward(const grouped_gemm_shape& shape, const void* x, const void* w, void* y, CUstream_st* stream,
                            tile_choice tile = tile_choice::automatic);

// dx[r, in] = dy[r, out] * w[e] transposed
const char* grouped_input_gradient(const grouped_gemm_shape& shape, const void* dy, const void* w, void* dx, CUstream_st* stream,
                                   tile_choice tile = tile_choice::automatic);

// dw[e] (f32) = or += the outer products of the expert's rows of dy and x; the weights' layout is the gradient's layout
const char* grouped_weight_gradient(const grouped_gemm_shape& shape, const void* dy, const void* x, float* dw, bool accumulate,
                                    CUstream_st* stream, tile_choice tile = tile_choice::automatic);

}  // namespace plait::inline v0_1::kernels
