#pragma once
// Leaves of a computation: values whose gradient is wanted, their gradients, and parameters taken from a store.
#include "plait/ops/styled.hpp"
#include "plait/plan/parameter_type.hpp"

namespace plait::inline v0_1 {

/// x as a value whose gradient is wanted: a leaf, or one that has a gradient on its way, which it keeps. Copies share it.
template <class X>
X with_gradient(X x) {
  if (x.data().gradient == nullptr) detail::track(x.data());
  return x;
}

/// What backward left for x, under the layout that x's type dictates (Replicate has a pending sum). Zeros if nothing reached it.
template <class X>
grad_t<X> gradient_of(context& c, const X& x) {
  if (x.data().gradient == nullptr) throw std::logic_error("plait: the gradient of a value that wants none; see with_gradient");
  array g = x.data();
  g.local = detail::accumulator(c, *g.gradient);
  g.memory = g.gradient->memory;
  g.layout = grad_layout_t<typename X::layout_type>::value;
  g.gradient = nullptr;
  g.cell = nullptr;
  return grad_t<X>(std::move(g));
}

/// The parameter `Name` of layer `layer` with the style that rules it; Store is a parameter_store whose unit is present.
template <class Plan, class Model, fixed_string Name, int Number = -1, class Store>
auto weight(Store& store, int layer = -1) {
  constexpr int row = row_of<Model>(Name.text);
  if constexpr (requires { typename Plan::mesh; Model::parameters; }) {
    using type = tensor<typename Plan::precision::compute, extents_of_t<Model, Name>, compute_layout_t<Plan, Model, row, Number>>;
    using style = detail::style_or_refused<row >= 0 && detail::verdict<Plan, Model>::clean, std::conditional_t<(row >= 0), style_t<Plan, Model, row, Number>, void>>;
    return styled<style, type>(type(store.compute_array(store.slot(row, layer))));
  } else {
    static_assert(covers<Plan, Model> || true);  // says what is no plan or no model
    using type = tensor<float, extents<dyn, dyn>, laid_out<mesh<detail::only_axis>>>;
    return styled<detail::refused<void>, type>(type(store.compute_array(store.slot(row, layer))));
  }
}

}  // namespace plait::inline v0_1
