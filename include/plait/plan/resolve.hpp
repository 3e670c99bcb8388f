#pragma once
// Plan x model -> a resolved table of values: for each row (and each layer number that some rule names) the rule, the compute
// layout and the storage layout. Computed once per plan and model by constexpr loops; types are looked up from the values.
#include "plait/plan/plan.hpp"
#include "plait/plan/storage_dim.hpp"

namespace plait::inline v0_1 {

enum class plan_error : std::uint8_t {
  none,
  uncovered,
  ambiguous,
  activation_style,
  axis_not_in_mesh,
  axis_cuts_twice,
  packed_as_plain,
  plain_as_packed,
  fsdp_over_sharded,
  fsdp_over_invariant,
  axis_named_twice,
  fsdp_no_dim,
  indivisible,
};

struct resolved_parameter {
  int rule = -1;
  plan_error error = plan_error::none;
  layout_value compute{};  // as ops see it
  layout_value storage{};  // compute plus FSDP's cut
  bool dim_open = false;   // which dim that is, numbers known at run time decide; until then it is 0
};

namespace detail {

/// The most specific rule for a name at a layer; only rules whose hash is the name's or its owner's are looked at.
template <class Plan>
constexpr int best_rule(const pattern& name, int number, bool& ambiguous) {
  int best = -1, score = 0;
  ambiguous = false;
  for (const std::uint64_t hash : {name.hash, name.owner_hash}) {
    int low = 0, high = Plan::rules;
    while (low < high) {
      const int middle = (low + high) / 2;
      if (Plan::rule_pattern[Plan::rule_order.at[middle]].hash < hash) low = middle + 1;
      else high = middle;
    }
    for (; low < Plan::rules && Plan::rule_pattern[Plan::rule_order.at[low]].hash == hash; ++low) {
      const int r = Plan::rule_order.at[low];
      const int s = specificity(Plan::rule_pattern[r], name, number);
      if (s == 0 || s < score) continue;
      ambiguous = s == score;
      score = s;
      best = r;
    }
  }
  return best;
}

constexpr bool ends_with(const char* text, const char* tail) {
  const int n = text_length(text), m = text_length(tail);
  return n >= m && same_text(text + (n - m), tail);
}

constexpr placement_value slot_for(const style_value& style, const parameter& row) {
  const bool is_bias = (row.rank == 1 && ends_with(row.name, ".bias")) || (row.rank == 2 && ends_with(row.name, "_bias"));
  placement_value p = is_bias ? style.bias : style.weight;
  // One-dimensional weights (norms) have no second dim to cut; -2 on them would be a plan error, found as axis_cuts_twice.
  return p.resolved(row.rank);
}

/// Is dim `d` of `row` divided evenly, in its units and sections, by the axes that `layout` cuts it with? Extents and sizes
/// that are not known yet count as fitting; the same function runs again when they are.
constexpr bool divides(const parameter& row, const std::int64_t* extent, std::int64_t unit_size, const layout_value& layout,
                       const int* size) {
  if (row.may_be_uneven) return true;
  for (int d = 0; d < row.rank; ++d) {
    std::int64_t pieces = 1;
    bool known = extent[d] >= 0;
    for (int c = 0; c < layout.cuts; ++c) {
      const int atom = layout.cut[c];
      if (layout.at[atom].dim != d) continue;
      if (size[atom] < 0) known = false;
      pieces *= size[atom] < 0 ? 1 : size[atom];
    }
    if (!known || pieces == 1) continue;
    const std::int64_t unit = d == row.unit_dim ? unit_size : 1;
    if (unit < 1) continue;  // unit not known yet
    const std::int64_t sections = d == row.packed_dim ? row.sections : 1;
    if (extent[d] % unit != 0 || (extent[d] / unit) % (sections * pieces) != 0) return false;
  }
  return true;
}

template <class Plan, class Model>
constexpr resolved_parameter resolve(int row_number, int number) {
  using Mesh = typename Plan::mesh;
  const parameter& row = Model::parameters[row_number];
  resolved_parameter out;
  bool ambiguous = false;
  out.rule = best_rule<Plan>(read_pattern(row.name, text_length(row.name)), number, ambiguous);
  out.compute.atoms = out.storage.atoms = Mesh::atoms;
  if (out.rule < 0 || ambiguous) {
    out.error = out.rule < 0 ? plan_error::uncovered : plan_error::ambiguous;
    return out;
  }
  const style_value& style = Plan::rule_style[out.rule];
  const storage_value& storage = Plan::rule_storage[out.rule].given ? Plan::rule_storage[out.rule] : Plan::default_storage;
  if (!style.places_parameters) out.error = plan_error::activation_style;
  else if (!style.axis_in_mesh || !storage.axis_in_mesh) out.error = plan_error::axis_not_in_mesh;
  else if (style.axis_twice || storage.axis_twice) out.error = plan_error::axis_named_twice;
  if (out.error != plan_error::none) return out;

  layout_builder compute(Mesh::atoms), stored(Mesh::atoms);
  const placement_value p = slot_for(style, row);
  if (p.cuts() && (p.dim < 0 || p.dim >= row.rank)) {
    out.error = plan_error::axis_cuts_twice;
    return out;
  }
  if (!p.cuts() && p.kind != placement_kind::replicate && p.kind != placement_kind::invariant) {
    out.error = plan_error::activation_style;  // a parameter is whole or cut, never a sum or ragged rows
    return out;
  }
  const int storage_dim = storage.dim == by_extents ? 0 : storage.dim < 0 ? storage.dim + row.rank : storage.dim;
  if (storage.atoms > 0 && (storage_dim < 0 || storage_dim >= row.rank)) {
    out.error = plan_error::fsdp_no_dim;
    return out;
  }
  if (p.kind == placement_kind::shard && p.dim == row.packed_dim) out.error = plan_error::packed_as_plain;
  if (p.kind == placement_kind::strided_shard && (p.dim != row.packed_dim || p.sections != row.sections))
    out.error = plan_error::plain_as_packed;
  for (int i = 0; i < style.atoms; ++i) compute.place(style.atom[i], p);
  for (int i = 0; i < style.atoms; ++i) stored.place(style.atom[i], p);
  for (int i = 0; i < storage.atoms && row.trained; ++i) {
    const int atom = storage.atom[i];
    if (!(compute.value.at[atom] == Replicate::value)) {
      out.error = compute.value.at[atom] == Invariant::value ? plan_error::fsdp_over_invariant : plan_error::fsdp_over_sharded;
      return out;
    }
    stored.place(atom, placement_value{placement_kind::shard, static_cast<std::int8_t>(storage_dim), 1});
  }
  out.compute = compute.value;
  out.storage = stored.value;

  std::int64_t extent[4] = {};
  for (int d = 0; d < row.rank; ++d) extent[d] = is_symbol(row.extent[d]) ? -1 : row.extent[d];
  if (storage.dim == by_extents && row.trained) {
    const int dim = even_dim(out.compute, out.storage, row.rank, extent, Mesh::sizes);
    out.dim_open = dim < 0;
    if (dim > 0) out.storage = stored_by(out.compute, out.storage, dim);
  }
  if (out.error == plan_error::none &&
      !divides(row, extent, is_symbol(row.unit_size) ? -1 : row.unit_size, out.compute, Mesh::sizes))
    out.error = plan_error::indivisible;
  return out;
}

/// Layer numbers that rules of the plan name, ascending, each once.
struct number_list {
  int count = 0;
  int number[256] = {};
};
template <class Plan>
constexpr number_list numbered_layers() {
  number_list list;
  const auto add = [&list](int n) {
    if (n < 0 || list.count == 256) return;
    int at = 0;
    while (at < list.count && list.number[at] < n) ++at;
    if (at < list.count && list.number[at] == n) return;
    for (int i = list.count++; i > at; --i) list.number[i] = list.number[i - 1];
    list.number[at] = n;
  };
  for (int r = 0; r < Plan::rules; ++r) add(Plan::rule_pattern[r].number);
  for (int r = 0; r < Plan::points; ++r) add(Plan::point_pattern[r].number);
  return list;
}

template <class Plan, class Model>
struct resolved_table {
  static constexpr number_list numbers = numbered_layers<Plan>();
  static constexpr int rows = parameter_count<Model>;
  /// Column 0: layers without a number of their own; column i + 1: layer numbers.number[i].
  struct table {
    resolved_parameter at[(numbers.count + 1) * rows];
  };
  static constexpr table build() {
    table t{};
    for (int c = 0; c <= numbers.count; ++c)
      for (int r = 0; r < rows; ++r) t.at[c * rows + r] = resolve<Plan, Model>(r, c == 0 ? -1 : numbers.number[c - 1]);
    return t;
  }
  static constexpr table value = build();
  static constexpr int column(int number) {
    for (int i = 0; i < numbers.count; ++i)
      if (numbers.number[i] == number) return i + 1;
    return 0;
  }
  static constexpr const resolved_parameter& at(int row, int number) { return value.at[column(number) * rows + row]; }
};

/// Activation rule for a point (-1 if none, -2 if two fit equally well).
template <class Plan, class Model>
constexpr int resolve_point(int point, int number) {
  const activation_point& p = Model::activations[point];
  const pattern name = read_pattern(p.name, text_length(p.name));
  int best = -1, score = 0;
  bool ambiguous = false;
  for (int r = 0; r < Plan::points; ++r) {
    if (Plan::point_kind[r] != layer_kind::any && Plan::point_kind[r] != p.kind) continue;
    int s = specificity(Plan::point_pattern[r], name, number);
    if (s < 3) continue;  // activation rules name the point itself
    s = 2 * s + (Plan::point_kind[r] != layer_kind::any ? 1 : 0);
    if (s < score) continue;
    ambiguous = s == score;
    score = s;
    best = r;
  }
  return ambiguous ? -2 : best;
}

}  // namespace detail
}  // namespace plait::inline v0_1
