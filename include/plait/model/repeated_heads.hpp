#pragma once
// Fewer key and value heads than the ranks that cut the queries' heads: a plan whose k and v are whole on every rank, each of which takes
// the heads that its queries need.
#include <cstdint>
#include <numeric>
#include <type_traits>

#include "plait/mesh/mesh_shape.hpp"
#include "plait/model/decoder_traits.hpp"
#include "plait/plan/amend.hpp"
#include "plait/plan/covers.hpp"
#include "plait/style/dense.hpp"
#include "plait/tensor/layout_value.hpp"

namespace plait::inline v0_1 {
namespace detail {

template <class Style>
struct cut_heads {
  using axis = void;
};
template <class Axis>
struct cut_heads<colwise<Axis>> {
  using axis = Axis;
};
template <class Plan, class Model, int Key>
consteval bool cuts_key_heads() {
  if constexpr (Key < 0) return false;
  else return !std::is_void_v<typename cut_heads<style_t<Plan, Model, Key>>::axis>;
}
template <class Plan, class Axis>
struct amended_heads
    : amend<Plan, parameters<rule<"model.layers.*.self_attn.k_proj", replicated_heads<Axis>>, rule<"model.layers.*.self_attn.v_proj", replicated_heads<Axis>>>> {};
template <class Plan, class Model, int Key, bool Offered>
struct repeated_heads_of {
  using type = Plan;
};
template <class Plan, class Model, int Key>
struct repeated_heads_of<Plan, Model, Key, true> {
  using type = amended_heads<Plan, typename cut_heads<style_t<Plan, Model, Key>>::axis>;
};

}  // namespace detail

/// Whether a plan cuts k and v by head, so that one with repeated heads follows from it.
template <class Plan, class Model>
inline constexpr bool offers_repeated_heads = detail::cuts_key_heads<Plan, Model, decoder_traits<Model>::key>();

/// Plan with k and v whole on every rank; Plan itself where that is not offered.
template <class Plan, class Model>
using repeated_heads_plan =
    typename detail::repeated_heads_of<Plan, Model, decoder_traits<Model>::key, offers_repeated_heads<Plan, Model>>::type;

/// Heads into which `have` are repeated so that every piece of dim 2 of a layout has as many: each then serves whole groups of queries.
inline std::int64_t repeated_heads(const layout_value& queries, const mesh_shape& mesh, std::int64_t have) {
  std::int64_t pieces = 1;
  for (int a = 0; a < queries.atoms; ++a)
    if (queries.at[a].cuts(2)) pieces *= mesh.size[a];
  return std::lcm(have, pieces);
}

}  // namespace plait::inline v0_1
