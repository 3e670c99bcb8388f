#pragma once
// A parameter of a model under a plan, as a type: sharded_t<my_plan, my_model, "layers.*.up.weight", float>.
#include "plait/core/fixed_string.hpp"
#include "plait/plan/covers.hpp"
#include "plait/tensor/sharded.hpp"

namespace plait::inline v0_1 {
namespace detail {

/// Extents of a row; symbols are known at run time only.
template <class Model, int Row>
struct row_extents {
  template <std::size_t... Dims>
  static extents<(is_symbol(Model::parameters[Row].extent[Dims]) ? dyn : Model::parameters[Row].extent[Dims])...> build(
      std::index_sequence<Dims...>);
  using type = decltype(build(std::make_index_sequence<static_cast<std::size_t>(Model::parameters[Row].rank)>{}));
};

}  // namespace detail

/// Global extents of the parameter `Name`, as its row states them.
template <class Model, fixed_string Name>
using extents_of_t = typename detail::row_extents<Model, detail::named_row<(row_of<Model>(Name.text) >= 0), Model>::or_first(row_of<Model>(Name.text))>::type;

/// The parameter while ops use it. `Number`: the layer, if rules of the plan tell layers apart.
template <class Plan, class Model, fixed_string Name, class Element, int Number = -1>
using sharded_t = sharded<Element, extents_of_t<Model, Name>, compute_layout_t<Plan, Model, row_of<Model>(Name.text), Number>>;

/// The parameter while it is stored: what FSDP leaves on a rank.
template <class Plan, class Model, fixed_string Name, class Element, int Number = -1>
using stored_t = sharded<Element, extents_of_t<Model, Name>, storage_layout_t<Plan, Model, row_of<Model>(Name.text), Number>>;

}  // namespace plait::inline v0_1
