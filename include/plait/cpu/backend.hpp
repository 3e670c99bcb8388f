#pragma once
// The CPU's function table.
#include "plait/cpu/activation.hpp"
#include "plait/cpu/attention.hpp"
#include "plait/cpu/attention_gradient.hpp"
#include "plait/cpu/attention_sinks.hpp"
#include "plait/cpu/balance.hpp"
#include "plait/cpu/dispatch.hpp"
#include "plait/cpu/elementwise.hpp"
#include "plait/cpu/embedding.hpp"
#include "plait/cpu/experts.hpp"
#include "plait/cpu/heads.hpp"
#include "plait/cpu/loss.hpp"
#include "plait/cpu/matmul.hpp"
#include "plait/cpu/memory.hpp"
#include "plait/cpu/norm.hpp"
#include "plait/cpu/optimizer.hpp"
#include "plait/cpu/rope.hpp"
#include "plait/cpu/router.hpp"

namespace plait::inline v0_1 {

inline const backend& cpu_backend() {
  static constexpr backend table{
      .name = "cpu",
      .open_queue = cpu_detail::open_queue,
      .close_queue = cpu_detail::close_queue,
      .mark = cpu_detail::mark,
      .wait_mark = cpu_detail::wait_mark,
      .release_mark = cpu_detail::release_mark,
      .clear_faults = cpu_detail::clear_faults,
      .read_faults = cpu_detail::read_faults,
      .allocate = cpu_detail::allocate,
      .release = cpu_detail::release,
      .copy = cpu_detail::copy,
      .copy_box = cpu_detail::copy_box,
      .fill = cpu_detail::fill,
      .cast = cpu_detail::cast,
      .add = cpu_detail::add,
      .accumulate = cpu_detail::accumulate,
      .scale = cpu_detail::scale,
      .clamp = cpu_detail::clamp,
      .clamp_gradient = cpu_detail::clamp_gradient,
      .reduce = cpu_detail::reduce,
      .matmul = cpu_detail::matmul,
      .bias_add = cpu_detail::bias_add,
      .bias_gradient = cpu_detail::bias_gradient,
      .embedding = cpu_detail::embedding,
      .embedding_gradient = cpu_detail::embedding_gradient,
      .rms_norm = cpu_detail::rms_norm,
      .rms_norm_gradient = cpu_detail::rms_norm_gradient,
      .centre_rows = cpu_detail::centre_rows,
      .rope = cpu_detail::rope,
      .attention = cpu_detail::attention,
      .attention_gradient = cpu_detail::attention_gradient,
      .attention_sinks = cpu_detail::attention_sinks,
      .attention_sinks_gradient = cpu_detail::attention_sinks_gradient,
      .split_columns = cpu_detail::split_columns,
      .join_columns = cpu_detail::join_columns,
      .repeat_heads = cpu_detail::repeat_heads,
      .repeat_heads_gradient = cpu_detail::repeat_heads_gradient,
      .swiglu = cpu_detail::swiglu,
      .swiglu_gradient = cpu_detail::swiglu_gradient,
      .swiglu_pair = cpu_detail::swiglu_pair,
      .swiglu_pair_gradient = cpu_detail::swiglu_pair_gradient,
      .gate_rows = cpu_detail::gate_rows,
      .gate_rows_gradient = cpu_detail::gate_rows_gradient,
      .router = cpu_detail::router,
      .router_gradient = cpu_detail::router_gradient,
      .dispatch_plan = cpu_detail::dispatch_plan,
      .exchange_plan = cpu_detail::exchange_plan,
      .gather_rows = cpu_detail::gather_rows,
      .gather_rows_gradient = cpu_detail::gather_rows_gradient,
      .combine = cpu_detail::combine,
      .combine_gradient = cpu_detail::combine_gradient,
      .grouped_matmul = cpu_detail::grouped_matmul,
      .grouped_input_gradient = cpu_detail::grouped_input_gradient,
      .grouped_weight_gradient = cpu_detail::grouped_weight_gradient,
      .expert_bias = cpu_detail::expert_bias,
      .expert_bias_gradient = cpu_detail::expert_bias_gradient,
      .router_statistics = cpu_detail::router_statistics,
      .router_statistics_gradient = cpu_detail::router_statistics_gradient,
      .balance = cpu_detail::balance,
      .balance_gradient = cpu_detail::balance_gradient,
      .argmax = cpu_detail::argmax,
      .row_maximum = cpu_detail::row_maximum,
      .cross_entropy_parts = cpu_detail::cross_entropy_parts,
      .cross_entropy_parts_gradient = cpu_detail::cross_entropy_parts_gradient,
      .cross_entropy_sum = cpu_detail::cross_entropy_sum,
      .cross_entropy_sum_gradient = cpu_detail::cross_entropy_sum_gradient,
      .adamw = cpu_detail::adamw,
      .sum_of_squares = cpu_detail::sum_of_squares,
  };
  return table;
}

}  // namespace plait::inline v0_1
