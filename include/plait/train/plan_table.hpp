#pragma once
// A plan as values: what loading, storage, optimizer, checkpoints and explain work on, none of them a template on plan or model.
#include <string>

#include "plait/plan/covers.hpp"
#include "plait/ops/tensor.hpp"
#include "plait/train/parameter_store.hpp"

namespace plait::inline v0_1 {

struct plan_table {
  const parameter* rows = nullptr;
  int row_count = 0;
  const resolved_parameter* resolved = nullptr;  // [columns][row_count]
  const detail::number_list* numbers = nullptr;
  const detail::style_value* styles = nullptr;   // by rule
  const activation_point* points = nullptr;
  int point_count = 0;
  int (*point_rule)(int point, int number) = nullptr;
  const layout_value* point_layouts = nullptr;   // by activation rule
  const tie* ties = nullptr;
  int tie_count = 0;
  fsdp_units units{};
  precision_types types{};
  int atoms = 0;
  const int* sizes = nullptr;  // static axis sizes, dyn where known at run time only

  int column(int number) const {
    for (int i = 0; i < numbers->count; ++i)
      if (numbers->number[i] == number) return i + 1;
    return 0;
  }
  const resolved_parameter& at(int row, int number) const { return resolved[column(number) * row_count + row]; }
  const layout_value& point_layout(int point, int number) const { return point_layouts[point_rule(point, number)]; }
};

template <class Precision>
precision_types types_of() {
  return {dtype_of<typename Precision::parameter>(),  dtype_of<typename Precision::compute>(), dtype_of<typename Precision::reduce>(),
          dtype_of<typename Precision::accumulate>(), dtype_of<typename Precision::master>(),  dtype_of<typename Precision::moment>()};
}

template <class Plan, class Model>
const plan_table& table_of() {
  static_assert(covers<Plan, Model> || true);  // for its sentences, without one of its own after them
  using resolved = detail::resolved_table<Plan, Model>;
  static const plan_table table = [] {
    plan_table t;
    t.rows = Model::parameters;
    t.row_count = resolved::rows;
    t.resolved = resolved::value.at;
    t.numbers = &resolved::numbers;
    t.styles = Plan::rule_style;
    if constexpr (requires { Model::activations; }) {
      t.points = Model::activations;
      t.point_count = activation_count<Model>;
      t.point_rule = &detail::resolve_point<Plan, Model>;
      t.point_layouts = Plan::point_layout;
    }
    if constexpr (requires { Model::ties; }) {
      t.ties = Model::ties;
      t.tie_count = detail::row_count(Model::ties);
    }
    t.units = Plan::units;
    t.types = types_of<typename Plan::precision>();
    t.atoms = Plan::mesh::atoms;
    t.sizes = Plan::mesh::sizes;
    return t;
  }();
  return table;
}

/// A plan that does not fit a model's or a mesh's run-time numbers. The message is that of the static check.
struct plan_misfit : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

}  // namespace plait::inline v0_1
