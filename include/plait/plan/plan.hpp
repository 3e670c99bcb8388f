#pragma once
// A plan: constexpr tables of rules over a mesh. Derive a named struct from it, so that compilers print the name:
//   struct mixtral_tp_ep : plait::plan<node, plait::parameters<...>, plait::activations<...>, plait::everywhere<plait::fsdp<data>>> {};
#include "plait/plan/rule.hpp"

namespace plait::inline v0_1 {

namespace detail {

/// A style's slots as values, its axis as a list of atoms in the order in which it cuts.
struct style_value {
  bool places_parameters = false;
  bool axis_in_mesh = true, axis_twice = false;
  bool routes = false;
  bool repeats_heads = false;
  placement_value weight{}, bias{}, input{}, output{};
  bool output_moves = false;
  int atoms = 0;
  int atom[max_atoms] = {};
};
struct storage_value {
  bool given = false;
  bool axis_in_mesh = true, axis_twice = false;
  int dim = 0;
  int atoms = 0;
  int atom[max_atoms] = {};
};

template <class Mesh, class Value, class... Atoms>
constexpr void read_atoms(Value& value, atom_list<Atoms...>*) {
  constexpr int index[sizeof...(Atoms) + 1] = {Mesh::template index<Atoms>..., 0};
  for (int i = 0; i < static_cast<int>(sizeof...(Atoms)); ++i) {
    bool again = false;
    for (int j = 0; j < i; ++j) again = again || index[j] == index[i];
    if (index[i] < 0) {
      value.axis_in_mesh = false;
    } else if (again) {
      value.axis_twice = true;
    } else if (Mesh::sizes[index[i]] != 1) {
      value.atom[value.atoms++] = index[i];
    }
  }
}

template <class Mesh, class Style>
constexpr style_value read_style() {
  style_value v;
  if constexpr (parallel_style<Style>) {
    v.places_parameters = true;
    v.weight = Style::weight::value;
    v.bias = Style::bias::value;
    v.input = Style::input::value;
    v.output = Style::output::placement::value;
    v.output_moves = Style::output::moves;
    if constexpr (requires { Style::routes; }) v.routes = Style::routes;
    if constexpr (requires { Style::repeats_heads; }) v.repeats_heads = Style::repeats_heads;
    read_atoms<Mesh>(v, static_cast<atoms_of_t<typename Style::axis>*>(nullptr));
  }
  return v;
}
template <class Mesh, class Storage>
constexpr storage_value read_storage() {
  storage_value v;
  if constexpr (!std::is_same_v<Storage, plan_default>) {
    v.given = true;
    v.dim = Storage::dim;
    read_atoms<Mesh>(v, static_cast<atoms_of_t<typename Storage::axis>*>(nullptr));
  }
  return v;
}

/// Rule numbers by rising hash, so that a row finds its rules by bisection: cost grows linearly with the rows.
template <int Count>
struct hash_order {
  int at[Count + 1] = {};
};
template <int Count>
constexpr hash_order<Count> order_by_hash(const pattern* patterns) {
  hash_order<Count> order{};
  for (int r = 0; r < Count; ++r) {
    int position = r;
    while (position > 0 && patterns[order.at[position - 1]].hash > patterns[r].hash) {
      order.at[position] = order.at[position - 1];
      --position;
    }
    order.at[position] = r;
  }
  return order;
}

// What may stand where in a plan. Anything else is replaced by a part that says nothing, and covers reports it.
template <class T>
concept plan_storage = std::is_same_v<T, plan_default> || requires { typename T::axis; T::dim; };
template <class T>
concept plan_rule_type = requires { T::pattern; typename T::style; typename T::storage; } && plan_storage<typename T::storage>;
template <class T>
concept plan_point_type = requires { T::pattern; T::kind; T::entries_only; };
template <class T>
concept plan_precision = requires { typename T::compute; typename T::master; };

struct no_rule {
  static constexpr std::string_view pattern = "";
  using style = no_rule;
  using storage = plan_default;
};
struct no_point : activation_entries<> {
  static constexpr std::string_view pattern = "";
};

template <class T>
using rule_or_none = std::conditional_t<plan_rule_type<T>, T, no_rule>;
template <class T>
using point_or_none = std::conditional_t<plan_point_type<T>, T, no_point>;

/// The first of Parts that is not Right, void if all are.
template <class... Parts>
struct first_wrong {
  using type = void;
};
template <bool Right, class Part>
struct part {};
template <bool Right, class Part, class... More>
struct first_wrong<part<Right, Part>, More...> : first_wrong<More...> {};
template <class Part, class... More>
struct first_wrong<part<false, Part>, More...> {
  using type = Part;
};

template <class List>
inline constexpr bool is_parameters = false;
template <class... Rules>
inline constexpr bool is_parameters<parameters<Rules...>> = true;
template <class List>
inline constexpr bool is_activations = false;
template <class... Points>
inline constexpr bool is_activations<activations<Points...>> = true;
template <class List>
inline constexpr bool is_everywhere = false;
template <class Storage>
inline constexpr bool is_everywhere<everywhere<Storage>> = plan_storage<Storage> && !std::is_same_v<Storage, plan_default>;

struct only_axis : axis<1> {};

}  // namespace detail

template <class Mesh, class Parameters, class Activations = activations<>, class Everywhere = everywhere<no_fsdp>,
          class Precision = float32_precision>
struct plan;

template <class Mesh, class... Rules, class... Points, class Storage, class Precision>
  requires detail::layout_mesh<Mesh> && detail::is_everywhere<everywhere<Storage>> && detail::plan_precision<Precision>
struct plan<Mesh, parameters<Rules...>, activations<Points...>, everywhere<Storage>, Precision> {
  using mesh = Mesh;
  using precision = Precision;
  static constexpr fsdp_units units{};

  using wrong_part = typename detail::first_wrong<detail::part<detail::plan_rule_type<Rules>, Rules>...,
                                                  detail::part<detail::plan_point_type<Points>, Points>...>::type;

  static constexpr int rules = sizeof...(Rules);
  static constexpr pattern rule_pattern[sizeof...(Rules) + 1] = {read_pattern(detail::rule_or_none<Rules>::pattern)..., pattern{}};
  static constexpr auto rule_order = detail::order_by_hash<static_cast<int>(sizeof...(Rules))>(rule_pattern);
  static constexpr detail::style_value rule_style[sizeof...(Rules) + 1] = {
      detail::read_style<Mesh, typename detail::rule_or_none<Rules>::style>()..., detail::style_value{}};
  static constexpr detail::storage_value rule_storage[sizeof...(Rules) + 1] = {
      detail::read_storage<Mesh, typename detail::rule_or_none<Rules>::storage>()..., detail::storage_value{}};
  static constexpr detail::storage_value default_storage = detail::read_storage<Mesh, Storage>();
  template <std::size_t Rule>
  using style_of_rule = nth_t<Rule, typename detail::rule_or_none<Rules>::style..., detail::no_rule>;

  static constexpr int points = sizeof...(Points);
  static constexpr bool point_entries_only[sizeof...(Points) + 1] = {detail::point_or_none<Points>::entries_only..., true};
  static constexpr pattern point_pattern[sizeof...(Points) + 1] = {read_pattern(detail::point_or_none<Points>::pattern)..., pattern{}};
  static constexpr layer_kind point_kind[sizeof...(Points) + 1] = {detail::point_or_none<Points>::kind..., layer_kind::any};
  static constexpr layout_value point_layout[sizeof...(Points) + 1] = {detail::point_or_none<Points>::template layout_in<Mesh>::value..., layout_value{}};
};

/// Of the parts in another order, or other things in their places: an empty plan that covers reports.
template <class Mesh, class Parameters, class Activations, class Everywhere, class Precision>
struct plan : plan<mesh<detail::only_axis>, parameters<>> {
  using wrong_part = typename detail::first_wrong<
      detail::part<detail::layout_mesh<Mesh>, Mesh>, detail::part<detail::is_parameters<Parameters>, Parameters>,
      detail::part<detail::is_activations<Activations>, Activations>, detail::part<detail::is_everywhere<Everywhere>, Everywhere>,
      detail::part<detail::plan_precision<Precision>, Precision>>::type;
};

}  // namespace plait::inline v0_1
