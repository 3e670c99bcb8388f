#pragma once
// The only ops that communicate.
#include "plait/ops/tensor.hpp"
#include "plait/runtime/transfer.hpp"
#include "plait/typing/reduction.hpp"

namespace plait::inline v0_1 {

/// Admits the moves that exist only as somebody's adjoint (R -> I, I -> Partial, S -> Partial). For pullbacks.
struct adjoint_only_t {};
inline constexpr adjoint_only_t adjoint_only{};

namespace detail {
template <class From, class Target, bool AdjointOnly>
struct redistribute_verdict {
  static constexpr typed value = [] {
    typed t = typing::redistribute(From::value, Target::value, AdjointOnly);
    // Ragged rows leave their local region through combine, which knows whose rows they are.
    for (int a = 0; a < From::value.atoms; ++a)
      if (t.ok() && !(From::value.at[a] == Target::value.at[a]) &&
          (From::value.at[a].kind == placement_kind::ragged || Target::value.at[a].kind == placement_kind::ragged))
        t.error = type_error::no_single_collective, t.atom = a;
    return t;
  }();
};
template <class Element, class Extents, class Layout>
tensor<Element, Extents, Layout> blank(const array& like) {
  array a = like;
  a.layout = Layout::value;
  a.gradient = nullptr;
  return tensor<Element, Extents, Layout>(std::move(a));
}
}  // namespace detail

/// Gives x the layout Target: the collective (or none) that the redistribution table names, its adjoint in backward.
template <class Target, class E, class X, class L>
tensor<E, X, detail::target_t<Target, L>> redistribute(context& c, const tensor<E, X, L>& x) {
  using to = detail::target_t<Target, L>;
  using verdict = detail::redistribute_verdict<L, to, false>;
  if constexpr (detail::accept<typename L::mesh, verdict, tensor<E, X, L>, to>::ok) {
    return tensor<E, X, to>(runtime::redistribute(c, x.data(), to::value));
  } else {
    return detail::blank<E, X, to>(x.data());
  }
}
template <class Target, class E, class X, class L>
tensor<E, X, detail::target_t<Target, L>> redistribute(context& c, const tensor<E, X, L>& x, adjoint_only_t) {
  using verdict = detail::redistribute_verdict<L, Target, true>;
  if constexpr (detail::accept<typename L::mesh, verdict, tensor<E, X, L>, Target>::ok) {
    return tensor<E, X, Target>(runtime::redistribute(c, x.data(), Target::value));
  } else {
    return detail::blank<E, X, Target>(x.data());
  }
}

/// A redistribution in flight. Only wait gives the value; the source's memory is kept alive until then.
template <class X>
class pending {
 public:
  pending(context& c, const array& from, const layout_value& to)
      : source_(from), to_(to), transfer_(runtime::start_redistribute(c, from, to)) {}
  X wait(context& c) { return X(runtime::finish_redistribute(c, source_, transfer_, to_)); }

 private:
  array source_;
  layout_value to_;
  detail::transfer transfer_;
};

/// redistribute is wait(start).
template <class Target, class E, class X, class L>
pending<tensor<E, X, detail::target_t<Target, L>>> start_redistribute(context& c, const tensor<E, X, L>& x) {
  using to = detail::target_t<Target, L>;
  using verdict = detail::redistribute_verdict<L, to, false>;
  constexpr bool fits = detail::accept<typename L::mesh, verdict, tensor<E, X, L>, to>::ok;
  static_cast<void>(fits);
  return pending<tensor<E, X, to>>(c, x.data(), to::value);
}

/// Lets x enter a region that wants Target: once per value, so the value is given up here. The entered value serves every
/// consumer; their gradients are added while still pending and reduced once.
template <class Target, class E, class X, class L>
tensor<E, X, detail::target_t<Target, L>> enter(context& c, tensor<E, X, L>&& x) {
  using to = detail::target_t<Target, L>;
  constexpr bool enters_now = [] {
    if (!std::is_same_v<Target, to> || !(L::value == to::value)) return true;
    for (int a = 0; a < L::value.atoms; ++a)
      if (L::value.at[a].kind == placement_kind::replicate && L::mesh::sizes[a] != 1) return false;  // R again: it is inside
    return true;
  }();
  if constexpr (check::a_value_enters_a_region_once<enters_now, tensor<E, X, L>, to>::ok) {
    const tensor<E, X, L> given = std::move(x);
    return redistribute<to>(c, given);
  } else {
    return detail::blank<E, X, to>(x.data());
  }
}
/// An lvalue would still be there to enter a second time: move it.
template <class Target, class E, class X, class L>
tensor<E, X, detail::target_t<Target, L>> enter(context&, const tensor<E, X, L>& x) {
  static_cast<void>(check::a_value_enters_a_region_once<sizeof(E) == 0, const tensor<E, X, L>&, Target>::ok);
  return detail::blank<E, X, detail::target_t<Target, L>>(x.data());
}

/// The same value without a gradient.
template <class E, class X, class L>
tensor<E, X, L> stop_gradient(tensor<E, X, L> x) {
  x.data().gradient = nullptr;
  return x;
}

}  // namespace plait::inline v0_1
