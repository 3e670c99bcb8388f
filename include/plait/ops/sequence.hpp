#pragma once
// Along the sequence (dim 1) without a gradient: what generation keeps of the tokens it has seen, and the last position of each row.
#include "plait/ops/attention.hpp"
#include "plait/runtime/op_sequence.hpp"

namespace plait::inline v0_1 {
namespace detail {
/// Positions can be added and taken on each rank alone only where no axis cuts the sequence.
template <class X>
constexpr bool sequence_is_whole() {
  return !X::layout_type::value.cuts_dim(1);
}
template <class Extents>
struct open_sequence;
template <int First, int Sequence, int... Rest>
struct open_sequence<extents<First, Sequence, Rest...>> {
  using type = extents<First, dyn, Rest...>;
};
}  // namespace detail

/// Tensors of type X = [B, S, ...] one after the other along S, in memory that `memory` owns and that is taken once. The layout is
/// X's: keys whose heads are cut over tp are cached cut over tp.
template <class X>
class sequence_cache {
 public:
  static_assert(check::the_sequence_is_whole<detail::sequence_is_whole<X>(), X>::ok);
  explicit sequence_cache(runtime::growing_sequence& memory) : memory_(&memory) {}
  runtime::growing_sequence& data() const { return *memory_; }
  std::int64_t length() const { return memory_->length; }

 private:
  runtime::growing_sequence* memory_;
};

/// Adds y's positions at the end.
template <class X, class Y>
void append(context& c, const sequence_cache<X>& cache, const Y& y) {
  constexpr bool one_mesh = std::is_same_v<typename X::mesh, typename Y::mesh>;
  constexpr bool fits = check::elements_agree<std::is_same_v<typename X::element, typename Y::element>, Y, X>::ok &&
                        check::operands_share_one_mesh<one_mesh, Y, X>::ok &&
                        check::what_is_cached_lies_as_its_cache<(!one_mesh || X::layout_type::value == Y::layout_type::value), Y, X>::ok &&
                        check::extents_agree<detail::extents_compatible<typename X::extents_type, typename Y::extents_type>(), Y, X>::ok;
  if constexpr (fits) runtime::append(c, cache.data(), y.data());
}

/// attention of q [B, Sq, heads, d], which stand at the last Sq positions cached, over all positions cached.
template <class Q, class K, class V, class Segments, class... Sinks>
auto attention(context& c, const Q& q, const sequence_cache<K>& k, const sequence_cache<V>& v, const sequence_cache<Segments>& segment_start, double scale,
               const Sinks&... sinks) {
  static_assert(sizeof...(Sinks) <= 1);
  using result = detail::attended_t<Q, K, V>;
  if constexpr (detail::attention_fits<Q, K, V, Segments>() && (detail::sinks_fit<Q, Sinks>() && ... && true)) {
    const array* const sink = detail::array_of(sinks...);
    return result(runtime::attention(c, q.data(), k.data(), v.data(), segment_start.data(), scale, sink, detail::attention_verdict<Q, K>::value.out));
  } else {
    return result(q.data());
  }
}

/// [B, S, ...] -> [B, 1, ...]: each row's last position.
template <class X>
auto last_position(context& c, const X& x) {
  using result = tensor<typename X::element, typename detail::open_sequence<typename X::extents_type>::type, typename X::layout_type>;
  if constexpr (check::the_sequence_is_whole<detail::sequence_is_whole<X>(), X>::ok) {
    return result(runtime::last_position(c, x.data()));
  } else {
    return result(x.data());
  }
}

}  // namespace plait::inline v0_1
