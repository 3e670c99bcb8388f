#pragma once
// The run-time backend table. A typed op checks types, then makes one call through this table on plain views.
// Functions are instantiated per element type only; which one runs is read off the views' dtype.
//
// Conventions: every view is contiguous and row-major; "activation" views are f32, f64 or bf16 and agree with each other;
// statistics are f32 (f64 for f64); ids are i64; indices made by the library are i32. Gradients of weights are
// accumulated (+=) into views that may be wider than the activations (bf16 in, f32 out); other outputs are overwritten.
// A null view means "not wanted". Any row or expert count may be zero. Sums inside one output element run in a fixed order.
#include "plait/runtime/fault.hpp"
#include "plait/runtime/gated_options.hpp"
#include "plait/runtime/router_options.hpp"
#include "plait/runtime/view.hpp"

namespace plait::inline v0_1 {

/// What a backend function runs on: a queue (null where ops run at once), how many threads it may use, where data errors go.
struct execution {
  void* queue = nullptr;
  int threads = 1;
  fault_record* faults = nullptr;
};

struct adamw_options {
  double learning_rate = 1e-3, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0.01;
  std::int64_t step = 1;      // 1 for the first update: bias correction uses it
  double gradient_scale = 1;  // clipping factor, applied to the gradient first
};

/// What the rotary embedding turns of a head: 2 n columns from `first` on, n being what the tables hold; pairs are (i, i + n) or, where
/// interleaved, (2 i, 2 i + 1). The other columns stay as they are.
struct rotary_form {
  std::int64_t first = 0;
  bool interleaved = false;
};

struct backend {
  const char* name;

  // queues: what is queued runs in order and may run later; a backend that works at once has none (open_queue gives null) --
  void* (*open_queue)();
  void (*close_queue)(void* queue);                 // waits for what is queued; memory taken from the queue goes with it
  /// A mark stands for all that has been queued so far; null: there is nothing to wait for.
  void* (*mark)(const execution&);
  void (*wait_mark)(const execution&, void* mark);  // what is queued from here on runs after the mark
  void (*release_mark)(void* mark);
  /// What ops found wrong in data: `clear` forgets it, `read` waits for the queue and puts it into execution::faults.
  void (*clear_faults)(const execution&);
  void (*read_faults)(const execution&);

  // memory ---------------------------------------------------------------------------------------------------------
  // In the order of the queue: released memory may be handed out again at once, for what is queued later on the same queue.
  void* (*allocate)(void* queue, std::size_t bytes);
  void (*release)(void* queue, void* pointer, std::size_t bytes);
  // copy, copy_box and cast also take host memory, which is how data come and go: `from` may be reused when they return, and a
  // `to` on the host is then written (the queue has been waited for). copy_box takes it in `from` alone.
  void (*copy)(const execution&, void* to, const void* from, std::size_t bytes);
  /// Copies a box of `count[]` elements (rank `rank`, element size `element`) between two row-major arrays, innermost
  /// dim last; `to_extent`/`from_extent` are the whole arrays, `to_start`/`from_start` the box's corner in each.
  void (*copy_box)(const execution&, void* to, const std::int64_t* to_extent, const std::int64_t* to_start, const void* from,
                   const std::int64_t* from_extent, const std::int64_t* from_start, const std::int64_t* count, int rank,
                   std::size_t element);
  void (*fill)(const execution&, view out, double value);

  // element by element ---------------------------------------------------------------------------------------------
  void (*cast)(const execution&, view from, view to);
  void (*add)(const execution&, view a, view b, view out);              // out may be a or b
  void (*accumulate)(const execution&, view from, view to);             // to += from, types may differ
  void (*scale)(const execution&, view x, double factor);               // x *= factor
  void (*clamp)(const execution&, view x, double limit, view out);      // out = x in [-limit, limit]; out may be x
  void (*clamp_gradient)(const execution&, view x, view dy, double limit, view dx);  // dx = dy where x is in there, else 0
  /// out = sum (or maximum) of `count` arrays of out's type and size, in the order given; bf16 is summed in f32, rounded once.
  void (*reduce)(const execution&, const void* const* from, int count, view out, bool maximum);

  // dense ----------------------------------------------------------------------------------------------------------
  /// c[M,N] (+)= op(a) op(b): a is [M,K] ([K,M] if transpose_a), b is [K,N] ([N,K] if transpose_b). c may be wider.
  void (*matmul)(const execution&, view a, bool transpose_a, view b, bool transpose_b, view c, bool accumulate);
  void (*bias_add)(const execution&, view x, view bias, view out);      // out[r,c] = x[r,c] + bias[c]; out may be x
  void (*bias_gradient)(const execution&, view dy, view dbias);         // dbias[c] += sum_r dy[r,c]

  // embedding: table holds rows [first, first + table.rows) of the vocabulary; other ids give zeros ------------------
  void (*embedding)(const execution&, view ids, view table, std::int64_t first, std::int64_t vocabulary, view out);
  void (*embedding_gradient)(const execution&, view ids, view dy, std::int64_t first, view dtable);  // ids below zero are left out

  // norm: y = x * rsqrt(mean(x^2) + epsilon) * weight over the last dim; inverse_rms is one statistic a row -----------
  void (*rms_norm)(const execution&, view x, view weight, double epsilon, view y, view inverse_rms);
  void (*rms_norm_gradient)(const execution&, view x, view weight, view inverse_rms, view dy, view dx, view dweight);
  /// y = x minus the mean of its row. Its own adjoint.
  void (*centre_rows)(const execution&, view x, view y);

  // attention ------------------------------------------------------------------------------------------------------
  /// x, y: [B,S,heads,d]; cosine, sine: statistics [B,S,n], 2 n <= d. Turns the pairs that the form names; inverse: the other way.
  void (*rope)(const execution&, view x, view cosine, view sine, rotary_form, bool inverse, view y);
  /// q [B,Sq,Hq,d], k [B,Skv,Hkv,d], v [B,Skv,Hkv,d'], Hq a multiple of Hkv, out [B,Sq,Hq,d']. The first `keys` of the Skv positions are
  /// there (a cache has room for more, which is not read). Query i stands at position i + keys - Sq and sees keys
  /// [segment_start[b, that position], that position]; segment_start is i32 [B,Skv]. lse: statistics [B,Hq,Sq].
  void (*attention)(const execution&, view q, view k, view v, view segment_start, std::int64_t keys, double scale, view out, view lse);
  /// For keys == Skv.
  void (*attention_gradient)(const execution&, view q, view k, view v, view segment_start, double scale, view out, view lse,
                             view dout, view dq, view dk, view dv);
  /// One logit a head more in attention's softmax, that no value goes with: out and lse, as attention gave them, become those with it.
  /// sinks [Hq]. attention_gradient takes them as they then are.
  void (*attention_sinks)(const execution&, view sinks, view out, view lse);
  void (*attention_sinks_gradient)(const execution&, view sinks, view out, view lse, view dout, view dsinks);  // dsinks +=

  // columns and heads ----------------------------------------------------------------------------------------------
  /// a[r,:] = the first columns of x[r,:], b[r,:] the others; and the way back. Either part may be null where x is split.
  void (*split_columns)(const execution&, view x, view a, view b);
  void (*join_columns)(const execution&, view a, view b, view x);
  /// x [R,h,d], y [R,H,d]: y[:,j,:] = x[:,(first + j) / times,:]. The gradient sums over the copies.
  void (*repeat_heads)(const execution&, view x, std::int64_t first, std::int64_t times, view y);
  void (*repeat_heads_gradient)(const execution&, view dy, std::int64_t first, std::int64_t times, view dx);

  // gated activation -----------------------------------------------------------------------------------------------
  /// packed [R,2F] holds gates and ups, y [R,F]: silu(gate) * up, or what the options say.
  void (*swiglu)(const execution&, view packed, const gated_options&, view y);
  void (*swiglu_gradient)(const execution&, view packed, view dy, const gated_options&, view dpacked);
  void (*swiglu_pair)(const execution&, view gate, view up, view y);
  void (*swiglu_pair_gradient)(const execution&, view gate, view up, view dy, view dgate, view dup);
  /// y[r,:] = sigmoid(gate[r]) * x[r,:], gate [R,1].
  void (*gate_rows)(const execution&, view x, view gate, view y);
  void (*gate_rows_gradient)(const execution&, view x, view gate, view dy, view dx, view dgate);

  // mixture of experts ---------------------------------------------------------------------------------------------
  /// logits [T,E] -> probabilities statistics [T,E] (softmax or sigmoid, as options.scoring; sparsemixer: softmax), ids i32 [T,k]
  /// (the k best, ties to the lower id, in falling order), scores [T,k] in logits' type: the probabilities of those, or sparsemixer's
  /// own, normalised and scaled as the options say. Best are the largest probabilities plus bias (statistics [E] or [1,E], may be
  /// null) within the kept groups. A row with a NaN or infinite logit raises nan_router_logits and gets ids 0..k-1, zero
  /// probabilities and scores.
  void (*router)(const execution&, view logits, view bias, const router_options&, view probabilities, view ids, view scores);
  /// The choice has no gradient, nor has the bias. logits: as given to router; sparsemixer alone reads them.
  void (*router_gradient)(const execution&, view logits, view probabilities, view ids, view dscores, const router_options&, view dlogits);
  /// Stable counting sort of the T*k (token, choice) pairs by expert, keeping experts [first, first + local):
  /// offsets i32 [local+1]; pair_of_slot i32 [T*k] (first offsets[local] valid, the rest -1); slot_of_pair i32 [T*k], -1 = absent.
  void (*dispatch_plan)(const execution&, view ids, std::int64_t first, std::int64_t local, view offsets, view pair_of_slot,
                        view slot_of_pair);
  /// Rows from n ranks, each rank's sorted by expert, to slots sorted by expert, then by rank. received i32 [n, local+1]: where the rows
  /// of a rank for each expert begin in its order; they arrive by rank without gaps. offsets i32 [local+1] as above; row_of_slot and
  /// slot_of_row i32 [rows], inverse to each other.
  void (*exchange_plan)(const execution&, view received, view offsets, view row_of_slot, view slot_of_row);
  /// rows[s,:] = x[pair_of_slot[s] / k, :] for valid slots. rows is [T*k,H]; slots past the last offset are not written.
  void (*gather_rows)(const execution&, view x, std::int64_t k, view pair_of_slot, view offsets, view rows);
  void (*gather_rows_gradient)(const execution&, view drows, std::int64_t k, view slot_of_pair, view dx);
  /// y[t,:] = sum_j scores[t,j] * rows[slot_of_pair[t*k+j],:], absent pairs skipped, sum kept in the statistic type.
  void (*combine)(const execution&, view rows, view scores, view slot_of_pair, view y);
  void (*combine_gradient)(const execution&, view dy, view rows, view scores, view slot_of_pair, view drows, view dscores);
  /// For expert e, rows offsets[e]..offsets[e+1]: y = x W[e]^T, with x [P,in], W [local,out,in], y [P,out]; transposed: W and its
  /// gradient are [local,in,out], y = x W[e].
  void (*grouped_matmul)(const execution&, view x, view weight, bool transposed, view offsets, view y);
  void (*grouped_input_gradient)(const execution&, view dy, view weight, bool transposed, view offsets, view dx);
  /// dweight[e] = or += dy^T x; an expert without rows gets zeros, or keeps what it has.
  void (*grouped_weight_gradient)(const execution&, view x, view dy, bool transposed, view offsets, view dweight, bool accumulate);
  /// y[p,:] = x[p,:] + bias[e,:] for the rows of expert e, bias [local,out]; y may be x. dbias[e,:] += sum of its rows of dy.
  void (*expert_bias)(const execution&, view x, view bias, view offsets, view y);
  void (*expert_bias_gradient)(const execution&, view dy, view offsets, view dbias);
  /// Over tokens with valid[t] != 0 (u8 [T]): counts[e] = how often e is chosen, probability_sum[e] = sum of probabilities.
  void (*router_statistics)(const execution&, view probabilities, view ids, view valid, view counts, view probability_sum);
  /// For probabilities that are a softmax.
  void (*router_statistics_gradient)(const execution&, view probabilities, view valid, view dprobability_sum, view dlogits);
  /// loss[0] = factor * sum_e statistics[0,e] * statistics[1,e] (statistics [2,E]: choices, probability sums); only the second
  /// row has a gradient.
  void (*balance)(const execution&, view statistics, double factor, view loss);
  void (*balance_gradient)(const execution&, view statistics, double factor, view dloss, view dstatistics);

  /// x [R,n] of at most 2^32 - 1 columns -> places i64 [R]: of each row's largest element, of equal ones the first; -1 if an element is NaN or
  /// the largest is not finite.
  void (*argmax)(const execution&, view x, view places);

  // loss: logits [R,V'] are columns [first, first + V') of the vocabulary; labels i64 [R], -100 = ignored --------------
  void (*row_maximum)(const execution&, view logits, view maximum);                                 // statistics [R]
  /// parts statistics [2,R]: sum over own columns of exp(logit - maximum), and (target logit - maximum) if it is here, else 0.
  void (*cross_entropy_parts)(const execution&, view logits, view maximum, view labels, std::int64_t first,
                              std::int64_t vocabulary, view parts);
  void (*cross_entropy_parts_gradient)(const execution&, view logits, view maximum, view labels, std::int64_t first, view dparts,
                                       view dlogits);
  /// loss[0] = factor * sum over valid rows of (log(parts[0,r]) - parts[1,r]).
  void (*cross_entropy_sum)(const execution&, view parts, view labels, double factor, view loss);
  void (*cross_entropy_sum_gradient)(const execution&, view parts, view labels, double factor, view dloss, view dparts);

  // optimizer ------------------------------------------------------------------------------------------------------
  /// Master weights and moments are of one type. `copy`, if there is one: the new weights once more, in its type.
  void (*adamw)(const execution&, view master, view gradient, view moment1, view moment2, view copy, const adamw_options&);
  void (*sum_of_squares)(const execution&, view x, view total);  // total (f64 [1]) += sum of x^2
};

}  // namespace plait::inline v0_1
