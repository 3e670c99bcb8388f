#pragma once
// A plan made from another by named changes, so that what two plans share is written once:
//   struct qwen3_moe_tp : plait::amend<mixtral_tp, head_norms<tp>, dense_mlp<rowwise<tp>>> {};
// A typing error cannot pass: a rule added for a pattern that nothing has is refused by covers, one taken away in vain right here.
#include "plait/core/check.hpp"
#include "plait/core/pack.hpp"
#include "plait/plan/plan.hpp"

namespace plait::inline v0_1 {

/// Patterns whose rules, of parameters or of activations, the amended plan does not have.
template <fixed_string... Patterns>
struct without {
  static constexpr std::string_view patterns[sizeof...(Patterns) + 1] = {Patterns.view()..., {}};
  static constexpr int count = sizeof...(Patterns);
};

namespace detail {

/// The lists of a change, empty where it says nothing about them.
template <class Change>
struct change_parts {
  using rules = parameters<>;
  using points = activations<>;
};
template <class... Rules>
struct change_parts<parameters<Rules...>> {
  using rules = parameters<Rules...>;
  using points = activations<>;
};
template <class... Points>
struct change_parts<activations<Points...>> {
  using rules = parameters<>;
  using points = activations<Points...>;
};

template <class Change>
inline constexpr bool is_change = is_parameters<Change> || is_activations<Change> || requires { Change::patterns; };

template <class... Lists>
struct joined;
template <template <class...> class List, class... A>
struct joined<List<A...>> {
  using type = List<A...>;
};
template <template <class...> class List, class... A, class... B, class... More>
struct joined<List<A...>, List<B...>, More...> : joined<List<A..., B...>, More...> {};

/// What the changes take away.
template <class Change>
constexpr bool takes_away(std::string_view pattern) {
  if constexpr (requires { Change::patterns; })
    for (int w = 0; w < Change::count; ++w)
      if (Change::patterns[w] == pattern) return true;
  return false;
}
template <class... Changes>
struct removals {
  static constexpr bool has(std::string_view pattern) { return (takes_away<Changes>(pattern) || ... || false); }
};

/// What tells one rule from another: its pattern and, for activations, the kind of layer.
struct rule_key {
  std::string_view pattern;
  int kind = 0;
  constexpr bool operator==(const rule_key&) const = default;
};
template <class Rule>
constexpr rule_key key_of() {
  if constexpr (requires { Rule::kind; }) return {Rule::pattern, static_cast<int>(Rule::kind)};
  else return {Rule::pattern, 0};
}

/// Numbers of the rules that stay, out of the base's followed by the changes'.
template <int Count>
struct chosen_rules {
  int at[Count + 1] = {};
  int count = 0;
};
template <int Base, int Count, class Removed>
constexpr chosen_rules<Count> choose_rules(const rule_key* keys) {
  chosen_rules<Count> chosen;
  for (int r = 0; r < Count; ++r) {
    bool stays = true;
    for (int later = r < Base ? Base : r + 1; later < Count; ++later)
      stays = stays && !(r < Base ? keys[later].pattern == keys[r].pattern : keys[later] == keys[r]);
    if (stays && !(r < Base && Removed::has(keys[r].pattern))) chosen.at[chosen.count++] = r;
  }
  return chosen;
}

template <class Base, class Changes, class Removed>
struct amended_list;
template <template <class...> class List, class... Base, class... Changes, class Removed>
struct amended_list<List<Base...>, List<Changes...>, Removed> {
  static constexpr int count = sizeof...(Base) + sizeof...(Changes);
  static constexpr rule_key keys[count + 1] = {key_of<Base>()..., key_of<Changes>()..., rule_key{}};
  static constexpr auto chosen = choose_rules<static_cast<int>(sizeof...(Base)), count, Removed>(keys);
  template <std::size_t... First>
  static List<nth_t<static_cast<std::size_t>(chosen.at[First]), Base..., Changes...>...> pick(std::index_sequence<First...>);
  using type = decltype(pick(std::make_index_sequence<static_cast<std::size_t>(chosen.count)>{}));
  static constexpr bool has(std::string_view pattern) {
    for (int r = 0; r < static_cast<int>(sizeof...(Base)); ++r)
      if (keys[r].pattern == pattern) return true;
    return false;
  }
};

template <class Base, class Mesh, class Rules, class Points, class Everywhere, class... Changes>
struct amended_plan {
  using removed = removals<Changes...>;
  using rules = amended_list<Rules, typename joined<parameters<>, typename change_parts<Changes>::rules...>::type, removed>;
  using points = amended_list<Points, typename joined<activations<>, typename change_parts<Changes>::points...>::type, removed>;
  template <class Change>
  static constexpr bool all_there() {
    if constexpr (requires { Change::patterns; })
      for (int w = 0; w < Change::count; ++w)
        if (!rules::has(Change::patterns[w]) && !points::has(Change::patterns[w])) return false;
    return true;
  }
  // Instantiated for its own message alone.
  static_assert(((sizeof(check::a_plan_is_made_of_its_parts<is_change<Changes>, Base, Changes>) > 0) && ... && true));
  static_assert(((sizeof(check::what_an_amendment_takes_away_is_there<all_there<Changes>(), Base, Changes>) > 0) && ... && true));
  struct type : plan<Mesh, typename rules::type, typename points::type, Everywhere, typename Base::precision> {
    static constexpr fsdp_units units = Base::units;
  };
};
template <class Base, class... Changes, class Mesh, class Rules, class Points, class Everywhere, class Precision>
amended_plan<Base, Mesh, Rules, Points, Everywhere, Changes...> amend_parts(const plan<Mesh, Rules, Points, Everywhere, Precision>*);

}  // namespace detail

/// Base's tables with Changes, each a parameters<...>, an activations<...> or a without<...>. Rules for a pattern that Base has are
/// instead of Base's, others are added; a later change wins over an earlier.
template <class Base, class... Changes>
using amend = typename decltype(detail::amend_parts<Base, Changes...>(static_cast<Base*>(nullptr)))::type;

}  // namespace plait::inline v0_1
