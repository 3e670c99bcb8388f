#pragma once
// static_assert(covers<Plan, Model>): every parameter and activation point has a rule, every rule has something to rule, nothing is
// ambiguous, and what the rules say together makes sense. One constexpr pass; a failure names the row or rule by number
// (explain prints the names).
#include "plait/plan/resolve.hpp"

namespace plait::inline v0_1 {

template <class Model, int Row>
struct parameter_row {};
template <class Model, int Row>
struct activation_row {};
template <class Plan, int Rule>
struct plan_rule {};
template <class Plan, int Rule>
struct activation_rule {};
template <class Model, int Tie>
struct tie_row {};

namespace detail {

struct coverage {
  int row_with[16] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};  // first row with each plan_error
  int unused_rule = -1;
  int uncovered_point = -1, ambiguous_point = -1, unused_point_rule = -1;
  int beyond_row = -1, beyond_point = -1;  // that name a dim which is not there
  int numbered_row = -1, numbered_rule = -1;  // with a number or * beside the layer's
  int lonely_router = -1, misplaced_router = -1;
  int tied_mismatch = -1, tied_in_vain = -1;
  int row_again = -1, point_again = -1;  // of a name that the table has already
  int entry_point = -1;                  // rule of a point whose entries are not all layout entries
  int one_layer_only = -1;               // rule for one layer of a point that has one layout in all

  constexpr bool every_row_is_placed() const {
    for (int error = 1; error < 16; ++error)
      if (row_with[error] >= 0) return false;
    return true;
  }
  constexpr bool clean() const {
    for (const int found : {unused_rule, uncovered_point, ambiguous_point, unused_point_rule, beyond_row, beyond_point, numbered_row, numbered_rule,
                            lonely_router, misplaced_router, tied_mismatch, tied_in_vain, row_again, point_again, entry_point, one_layer_only})
      if (found >= 0) return false;
    return every_row_is_placed();
  }
};

/// May there be both rows of one name? Only in layers of different kinds, or under opposite conditions.
constexpr bool apart(layer_kind a, layer_kind b) { return a != layer_kind::any && b != layer_kind::any && a != b; }
constexpr bool apart(const parameter& a, const parameter& b) {
  return apart(a.kind, b.kind) || (a.condition != -1 && a.condition == b.condition && a.where_zero != b.where_zero);
}
constexpr bool apart(const activation_point& a, const activation_point& b) { return apart(a.kind, b.kind); }
constexpr bool same_shape(const parameter& a, const parameter& b) {
  bool same = a.rank == b.rank;
  for (int d = 0; d < a.rank && same; ++d) same = a.extent[d] == b.extent[d];
  return same;
}
/// The first point whose name one before it has, -1 if there is none.
template <class Points>
constexpr int first_again(const Points& points, int count) {
  for (int p = 0; p < count; ++p)
    for (int q = 0; q < p; ++q)
      if (same_text(points[p].name, points[q].name) && !apart(points[p], points[q])) return p;
  return -1;
}

/// The innermost activation point that a row lies in (-1: none).
template <class Model>
constexpr int point_around(const parameter& row) {
  int best = -1, length = 0;
  for (int p = 0; p < activation_count<Model>; ++p) {
    const activation_point& point = Model::activations[p];
    const int n = text_length(point.name);
    if (n <= length || text_length(row.name) <= n || row.name[n] != '.') continue;
    if (point.kind != layer_kind::any && row.kind != layer_kind::any && point.kind != row.kind) continue;
    bool inside = true;
    for (int i = 0; i < n; ++i) inside = inside && row.name[i] == point.name[i];
    if (inside) best = p, length = n;
  }
  return best;
}
/// Do tokens enter the layers of a router so laid out as its style wants them?
template <class Plan, class Model>
constexpr bool router_gets_its_tokens(int row, const style_value& style, int number) {
  if constexpr (requires { Model::activations; }) {
    const int point = point_around<Model>(Model::parameters[row]);
    const int rule = point < 0 ? -1 : resolve_point<Plan, Model>(point, number);
    for (int i = 0; i < style.atoms && rule >= 0; ++i)
      if (!(Plan::point_layout[rule].at[style.atom[i]] == style.input.resolved(Model::activations[point].rank))) return false;
  }
  return true;
}

template <class Plan, class Model>
constexpr coverage examine() {
  using table = resolved_table<Plan, Model>;
  coverage c;
  bool used[Plan::rules + 1] = {};
  for (int column = 0; column <= table::numbers.count; ++column)
    for (int r = 0; r < table::rows; ++r) {
      const resolved_parameter& p = table::value.at[column * table::rows + r];
      if (p.rule >= 0) used[p.rule] = true;
      const int e = static_cast<int>(p.error);
      if (c.row_with[e] < 0) c.row_with[e] = r;
    }
  for (int r = Plan::rules - 1; r >= 0; --r)
    if (!used[r]) c.unused_rule = r;
  for (int r = Plan::rules - 1; r >= 0; --r)
    if (Plan::rule_pattern[r].numbers > 1) c.numbered_rule = r;
  constexpr int places = 2 * table::rows + 1;  // a table of rows by hash, so that names met again are found in linear time
  int row_at[places] = {};
  std::uint64_t hash_at[places] = {};
  for (int r = table::rows - 1; r >= 0; --r) {
    const parameter& row = Model::parameters[r];
    const pattern name = read_pattern(row.name, text_length(row.name));
    int place = static_cast<int>(name.hash % places);
    for (; row_at[place] > 0; place = place + 1 == places ? 0 : place + 1) {
      const parameter& later = Model::parameters[row_at[place] - 1];
      if (hash_at[place] == name.hash && same_text(row.name, later.name) && !apart(row, later)) c.row_again = row_at[place] - 1;
    }
    row_at[place] = r + 1, hash_at[place] = name.hash;
    if (name.numbers > 1 || name.number >= 0) c.numbered_row = r;
    if (row.unit_dim >= row.rank || row.packed_dim >= row.rank) c.beyond_row = r;
  }
  for (int r = Plan::points - 1; r >= 0; --r)
    if (!Plan::point_entries_only[r]) c.entry_point = r;
  if constexpr (!requires { Model::activations; }) {
    if (Plan::points > 0) c.unused_point_rule = 0;
  } else {
    c.point_again = first_again(Model::activations, activation_count<Model>);
    bool point_used[Plan::points + 1] = {};
    for (int column = 0; column <= table::numbers.count; ++column)
      for (int p = 0; p < activation_count<Model>; ++p) {
        const int r = resolve_point<Plan, Model>(p, column == 0 ? -1 : table::numbers.number[column - 1]);
        if (r >= 0) point_used[r] = true;
        if (r >= 0 && Model::activations[p].one_layout && Plan::point_pattern[r].number >= 0 && c.one_layer_only < 0) c.one_layer_only = r;
        if (r >= 0 && c.beyond_point < 0 && !Plan::point_layout[r].fits_rank(Model::activations[p].rank)) c.beyond_point = p;
        if (r == -1 && c.uncovered_point < 0) c.uncovered_point = p;
        if (r == -2 && c.ambiguous_point < 0) c.ambiguous_point = p;
      }
    for (int r = Plan::points - 1; r >= 0; --r)
      if (!point_used[r]) c.unused_point_rule = r;
  }
  for (int r = 0; r < table::rows; ++r) {
    const resolved_parameter& p = table::value.at[r];
    if (p.error != plan_error::none || !Plan::rule_style[p.rule].routes) continue;
    const style_value& router = Plan::rule_style[p.rule];
    bool found = false;
    for (int o = 0; o < table::rows && !found; ++o) {
      const resolved_parameter& q = table::value.at[o];
      if (q.error != plan_error::none || Model::parameters[o].rank != 3) continue;
      found = true;
      for (int i = 0; i < router.atoms; ++i) found = found && q.compute.at[router.atom[i]].cuts(0);
    }
    if (!found && c.lonely_router < 0) c.lonely_router = r;
    if (c.misplaced_router < 0 && !router_gets_its_tokens<Plan, Model>(r, router, -1)) c.misplaced_router = r;
  }
  if constexpr (requires { Model::ties; }) {
    for (const tie& t : Model::ties) {
      int a = -1, b = -1;
      for (int r = 0; r < table::rows; ++r) {
        if (same_text(Model::parameters[r].name, t.alias)) a = r;
        if (same_text(Model::parameters[r].name, t.target)) b = r;
      }
      const int number = static_cast<int>(&t - &Model::ties[0]);
      if (c.tied_in_vain < 0 && (a < 0 || b < 0 || a == b || !same_shape(Model::parameters[a], Model::parameters[b]))) c.tied_in_vain = number;
      if (a >= 0 && b >= 0 && !(table::value.at[a].compute == table::value.at[b].compute)) c.tied_mismatch = a;
    }
  }
  return c;
}

template <class T>
inline constexpr bool is_real = std::is_same_v<T, float> || std::is_same_v<T, double> || std::is_same_v<T, bfloat16>;
template <class P>
inline constexpr bool keeps_precision =
    requires { typename P::parameter; typename P::reduce; typename P::accumulate; typename P::moment; };
template <class... Types>
inline constexpr bool keeps_precision<precision<Types...>> = (is_real<Types> && ...) &&
    std::is_same_v<typename precision<Types...>::reduce, typename precision<Types...>::accumulate>;

/// Reports what is no plan, or has something else where one of its parts belongs.
template <class Plan>
struct wrong_part_of {
  using type = Plan;
};
template <class Plan>
  requires requires { typename Plan::wrong_part; }
struct wrong_part_of<Plan> {
  using type = typename Plan::wrong_part;
};
template <class Plan, class Model, bool Sound = std::is_void_v<typename wrong_part_of<Plan>::type> && requires { Model::parameters; }>
struct verdict {
  static constexpr bool sound = false, clean = false;
};
template <class Plan, class Model>
struct verdict<Plan, Model, true> {
  static constexpr bool sound = true;
  static constexpr coverage c = examine<Plan, Model>();
  static constexpr int row(plan_error e) { return c.row_with[static_cast<int>(e)]; }
  template <plan_error E>
  using at = parameter_row<Model, row(E)>;
  using e = plan_error;
  // One mistake, one sentence: what only follows from an earlier failure is not reported as well.
  static constexpr bool named = c.numbered_row < 0 && c.numbered_rule < 0 && c.row_again < 0 && c.point_again < 0;
  static constexpr bool stated = c.entry_point < 0;
  static constexpr bool each_has_one_rule =
      named && row(e::uncovered) < 0 && row(e::ambiguous) < 0 && c.uncovered_point < 0 && c.ambiguous_point < 0;
  static constexpr bool each_is_placed = c.every_row_is_placed();
  static constexpr bool precise = keeps_precision<typename Plan::precision>;
  static constexpr bool clean = precise && c.clean();
};
/// The sentences, one for each rule that is broken. Each by itself: under clang a broken rule leaves no constant to ask for, and every use of
/// `covers` would be an error of its own.
template <class Plan, class Model, bool Sound = verdict<Plan, Model>::sound>
struct reported {
  static_assert(sizeof(check::a_plan_is_made_of_its_parts<false, Plan, Model, typename wrong_part_of<Plan>::type>) > 0);
};
template <class Plan, class Model>
struct reported<Plan, Model, true> {
  using v = verdict<Plan, Model>;
  using e = plan_error;
  static_assert(sizeof(check::a_precision_can_be_kept<v::precise, Plan, typename Plan::precision>) > 0);
  static_assert(sizeof(check::a_name_has_one_layer_number<(v::c.numbered_row < 0), Model, parameter_row<Model, v::c.numbered_row>>) > 0);
  static_assert(sizeof(check::a_name_has_one_layer_number<(v::c.numbered_row >= 0 || v::c.numbered_rule < 0), Plan, plan_rule<Plan, v::c.numbered_rule>>) > 0);
  static_assert(sizeof(check::a_table_has_a_name_once<(v::c.row_again < 0), Model, parameter_row<Model, v::c.row_again>>) > 0);
  static_assert(sizeof(check::a_table_has_a_name_once<(v::c.point_again < 0), Model, activation_row<Model, v::c.point_again>>) > 0);
  static_assert(sizeof(check::an_activation_rule_states_a_layout<v::stated, Plan, activation_rule<Plan, v::c.entry_point>>) > 0);
  static_assert(sizeof(check::every_parameter_row_has_a_rule<(!v::named || v::row(e::uncovered) < 0), Plan, typename v::template at<e::uncovered>>) > 0);
  static_assert(sizeof(check::one_most_specific_rule_matches_a_row<(!v::named || v::row(e::ambiguous) < 0), Plan, typename v::template at<e::ambiguous>>) > 0);
  static_assert(sizeof(check::one_most_specific_rule_matches_a_row<(v::c.ambiguous_point < 0), Plan, activation_row<Model, v::c.ambiguous_point>>) > 0);
  static_assert(sizeof(check::every_rule_matches_a_row<(!v::each_has_one_rule || v::c.unused_rule < 0), Model, plan_rule<Plan, v::c.unused_rule>>) > 0);
  static_assert(sizeof(check::every_rule_matches_a_row<(!v::each_has_one_rule || v::c.unused_point_rule < 0), Model, activation_rule<Plan, v::c.unused_point_rule>>) > 0);
  static_assert(sizeof(check::a_point_with_one_layout_has_one_rule<(v::c.one_layer_only < 0), Plan, activation_rule<Plan, v::c.one_layer_only>>) > 0);
  static_assert(sizeof(check::every_activation_point_has_a_rule<(v::c.uncovered_point < 0), Plan, activation_row<Model, v::c.uncovered_point>>) > 0);
  static_assert(sizeof(check::a_named_dim_is_there<(v::c.beyond_row < 0), Model, parameter_row<Model, v::c.beyond_row>>) > 0);
  static_assert(sizeof(check::a_named_dim_is_there<(v::c.beyond_point < 0), Plan, activation_row<Model, v::c.beyond_point>>) > 0);
  static_assert(sizeof(check::parameters_take_parameter_styles<v::row(e::activation_style) < 0, Plan, typename v::template at<e::activation_style>>) > 0);
  static_assert(sizeof(check::every_axis_is_in_the_mesh<v::row(e::axis_not_in_mesh) < 0, Plan, typename v::template at<e::axis_not_in_mesh>>) > 0);
  static_assert(sizeof(check::a_style_fits_the_rank_of_its_parameter<v::row(e::axis_cuts_twice) < 0, Plan, typename v::template at<e::axis_cuts_twice>>) > 0);
  static_assert(sizeof(check::packed_dims_are_cut_section_by_section<v::row(e::packed_as_plain) < 0, Plan, typename v::template at<e::packed_as_plain>>) > 0);
  static_assert(sizeof(check::only_packed_dims_are_cut_in_sections<v::row(e::plain_as_packed) < 0, Plan, typename v::template at<e::plain_as_packed>>) > 0);
  static_assert(sizeof(check::an_axis_is_used_once<v::row(e::axis_named_twice) < 0, Plan, typename v::template at<e::axis_named_twice>>) > 0);
  static_assert(sizeof(check::a_named_dim_is_there<v::row(e::fsdp_no_dim) < 0, Plan, typename v::template at<e::fsdp_no_dim>>) > 0);
  static_assert(sizeof(check::fsdp_shares_out_what_ranks_use_apart<(v::row(e::fsdp_over_sharded) >= 0 || v::row(e::fsdp_over_invariant) < 0), Plan, typename v::template at<e::fsdp_over_invariant>>) > 0);
  static_assert(sizeof(check::fsdp_gathers_copies_only<v::row(e::fsdp_over_sharded) < 0, Plan, typename v::template at<e::fsdp_over_sharded>>) > 0);
  static_assert(sizeof(check::the_axes_divide_the_units<v::row(e::indivisible) < 0, Plan, typename v::template at<e::indivisible>>) > 0);
  static_assert(sizeof(check::a_router_has_its_experts<(!v::each_is_placed || v::c.lonely_router < 0), Plan, parameter_row<Model, v::c.lonely_router>>) > 0);
  static_assert(sizeof(check::a_router_gets_the_tokens_it_wants<(!v::each_is_placed || v::c.misplaced_router < 0), Plan, parameter_row<Model, v::c.misplaced_router>>) > 0);
  static_assert(sizeof(check::a_tie_joins_two_rows_of_one_shape<(!v::named || v::c.tied_in_vain < 0), Model, tie_row<Model, v::c.tied_in_vain>>) > 0);
  static_assert(sizeof(check::tied_parameters_lie_alike<(!v::each_is_placed || v::c.tied_in_vain >= 0 || v::c.tied_mismatch < 0), Plan, parameter_row<Model, v::c.tied_mismatch>>) > 0);
};

}  // namespace detail

template <class Plan, class Model>
inline constexpr bool covers = sizeof(detail::reported<Plan, Model>) > 0 && detail::verdict<Plan, Model>::clean;

namespace detail {
/// Reports a name that no row has (row_of, point_of: -1); the first row then stands for it.
template <bool There, class Model>
struct named_row {
  static_assert(sizeof(check::a_named_row_is_there<There, Model>) > 0);  // for its own message alone
  static constexpr int or_first(int row) { return There ? row : 0; }
};
template <class Plan, class Model>
constexpr std::size_t rule_index(int row, int number) {
  const int rule = resolved_table<Plan, Model>::at(row, number).rule;
  return rule < 0 ? 0u : static_cast<std::size_t>(rule);
}
}  // namespace detail

/// The style that rules a row (at layer `Number`, -1: layers without a rule of their own).
template <class Plan, class Model, int Row, int Number = -1>
using style_t = typename Plan::template style_of_rule<detail::rule_index<Plan, Model>(detail::named_row<(Row >= 0), Model>::or_first(Row), Number)>;

namespace detail {
template <class Plan, class Model, int Row, int Number>
struct parameter_layouts {
  static_assert(covers<Plan, Model> || true);  // for its sentences: a plan that is refused has no layouts
  static constexpr layout_code code = encode(resolved_table<Plan, Model>::at(named_row<(Row >= 0), Model>::or_first(Row), Number).compute);
  using compute = layout_of_code_t<typename Plan::mesh, code.places, code.order>;
};
template <class Plan, class Model, int Row, int Number>
struct stored_parameter {
  static_assert(covers<Plan, Model> || true);  // for its sentences: a plan that is refused has no layouts
  static constexpr resolved_parameter resolved = resolved_table<Plan, Model>::at(named_row<(Row >= 0), Model>::or_first(Row), Number);
  static constexpr bool ok = check::the_dim_that_is_stored_in_pieces_is_known<!resolved.dim_open, Plan, parameter_row<Model, Row>>::ok;
  static constexpr layout_code code = ok ? encode(resolved.storage) : layout_code{};
  using type = layout_of_code_t<typename Plan::mesh, code.places, code.order>;
};
template <class Plan, class Model, int Point, int Number>
struct point_layout {
  static constexpr int rule = [] {
    if constexpr (named_row<(Point >= 0), Model>::or_first(Point) == Point) return resolve_point<Plan, Model>(Point, Number);
    else return -1;
  }();
  // Without cuts where covers has refused the rule.
  static constexpr bool fits = rule >= 0 && Plan::point_layout[rule < 0 ? Plan::points : rule].fits_rank(Model::activations[Point < 0 ? 0 : Point].rank);
  static constexpr layout_code code = encode(Plan::point_layout[fits ? rule : Plan::points]);
  using type = layout_of_code_t<typename Plan::mesh, code.places, code.order>;
};
}  // namespace detail

/// Layout of a parameter while ops use it, and while it is stored, where that is known at compile time.
template <class Plan, class Model, int Row, int Number = -1>
using compute_layout_t = typename detail::parameter_layouts<Plan, Model, Row, Number>::compute;
template <class Plan, class Model, int Row, int Number = -1>
using storage_layout_t = typename detail::stored_parameter<Plan, Model, Row, Number>::type;
/// Layout that the plan wants at an activation point.
template <class Plan, class Model, int Point, int Number = -1>
using activation_layout_t = typename detail::point_layout<Plan, Model, Point, Number>::type;

}  // namespace plait::inline v0_1
