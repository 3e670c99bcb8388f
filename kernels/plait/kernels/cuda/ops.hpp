#pragma once
// The functions behind the table, by source file. What they do is said in plait/runtime/backend.hpp.
#include "plait/runtime/backend.hpp"

namespace plait::inline v0_1::cuda {

// memory.cu
bool built_for_this_device();  // are there kernels for the current device?
void copy(const execution&, void* to, const void* from, std::size_t bytes);
void copy_box(const execution&, void* to, const std::int64_t* to_extent, const std::int64_t* to_start, const void* from,
              const std::int64_t* from_extent, const std::int64_t* from_start, const std::int64_t* count, int rank, std::size_t element);
void fill(const execution&, view out, double value);
void cast(const execution&, view from, view to);

// elementwise.cu
void add(const execution&, view a, view b, view out);
void accumulate(const execution&, view from, view to);
void scale(const execution&, view x, double factor);
void clamp(const execution&, view x, double limit, view out);
void clamp_gradient(const execution&, view x, view dy, double limit, view dx);
void reduce(const execution&, const void* const* from, int count, view out, bool maximum);
void bias_add(const execution&, view x, view bias, view out);
void bias_gradient(const execution&, view dy, view dbias);
void swiglu(const execution&, view packed, const gated_options&, view y);
void swiglu_gradient(const execution&, view packed, view dy, const gated_options&, view dpacked);
void swiglu_pair(const execution&, view gate, view up, view y);
void swiglu_pair_gradient(const execution&, view gate, view up, view dy, view dgate, view dup);
void gate_rows(const execution&, view x, view gate, view y);
void gate_rows_gradient(const execution&, view x, view gate, view dy, view dx, view dgate);
void rope(const execution&, view x, view cosine, view sine, rotary_form form, bool inverse, view y);
void adamw(const execution&, view master, view gradient, view moment1, view moment2, view copy, const adamw_options&);
void sum_of_squares(const execution&, view x, view total);

// gated_activation.cu
void gated(const execution&, view packed, const gated_options&, view y);
void gated_gradient(const execution&, view packed, view dy, const gated_options&, view dpacked);

// norm.cu
void rms_norm(const execution&, view x, view weight, double epsilon, view y, view inverse_rms);
void rms_norm_gradient(const execution&, view x, view weight, view inverse_rms, view dy, view dx, view dweight);
void centre_rows(const execution&, view x, view y);

// gemm.cu
void matmul(const execution&, view a, bool transpose_a, view b, bool transpose_b, view c, bool accumulate);
void grouped_matmul(const execution&, view x, view weight, bool transposed, view offsets, view y);
void grouped_input_gradient(const execution&, view dy, view weight, bool transposed, view offsets, view dx);
void grouped_weight_gradient(const execution&, view x, view dy, bool transposed, view offsets, view dweight, bool accumulate);

// embedding.cu
void embedding(const execution&, view ids, view table, std::int64_t first, std::int64_t vocabulary, view out);
void embedding_gradient(const execution&, view ids, view dy, std::int64_t first, view dtable);

// attention.cu
void attention(const execution&, view q, view k, view v, view segment_start, std::int64_t keys, double scale, view out, view lse);
void attention_gradient(const execution&, view q, view k, view v, view segment_start, double scale, view out, view lse, view dout, view dq,
                        view dk, view dv);

// heads.cu
void split_columns(const execution&, view x, view a, view b);
void join_columns(const execution&, view a, view b, view x);
void repeat_heads(const execution&, view x, std::int64_t first, std::int64_t times, view y);
void repeat_heads_gradient(const execution&, view dy, std::int64_t first, std::int64_t times, view dx);

// attention_sinks.cu
void attention_sinks(const execution&, view sinks, view out, view lse);
void attention_sinks_gradient(const execution&, view sinks, view out, view lse, view dout, view dsinks);

// expert_bias.cu
void expert_bias(const execution&, view x, view bias, view offsets, view y);
void expert_bias_gradient(const execution&, view dy, view offsets, view dbias);

// experts.cu
void router(const execution&, view logits, view bias, const router_options&, view probabilities, view ids, view scores);
void router_gradient(const execution&, view logits, view probabilities, view ids, view dscores, const router_options&, view dlogits);
void dispatch_plan(const execution&, view ids, std::int64_t first, std::int64_t local, view offsets, view pair_of_slot, view slot_of_pair);
void exchange_plan(const execution&, view received, view offsets, view row_of_slot, view slot_of_row);
void gather_rows(const execution&, view x, std::int64_t k, view pair_of_slot, view offsets, view rows);
void gather_rows_gradient(const execution&, view drows, std::int64_t k, view slot_of_pair, view dx);
void combine(const execution&, view rows, view scores, view slot_of_pair, view y);
void combine_gradient(const execution&, view dy, view rows, view scores, view slot_of_pair, view drows, view dscores);
void router_statistics(const execution&, view probabilities, view ids, view valid, view counts, view probability_sum);
void router_statistics_gradient(const execution&, view probabilities, view valid, view dprobability_sum, view dlogits);
void balance(const execution&, view statistics, double factor, view loss);
void balance_gradient(const execution&, view statistics, double factor, view dloss, view dstatistics);

// argmax.cu
void argmax(const execution&, view x, view places);

// loss.cu
void row_maximum(const execution&, view logits, view maximum);
void cross_entropy_parts(const execution&, view logits, view maximum, view labels, std::int64_t first, std::int64_t vocabulary, view parts);
void cross_entropy_parts_gradient(const execution&, view logits, view maximum, view labels, std::int64_t first, view dparts, view dlogits);
void cross_entropy_sum(const execution&, view parts, view labels, double factor, view loss);
void cross_entropy_sum_gradient(const execution&, view parts, view labels, double factor, view dloss, view dparts);

}  // namespace plait::inline v0_1::cuda
