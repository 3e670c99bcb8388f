#pragma once
// Rotary embedding and causal grouped-query attention within segments, over [B, S, heads, d].
#include "plait/ops/tensor.hpp"
#include "plait/ops/dense.hpp"
#include "plait/runtime/op_attention.hpp"
#include "plait/typing/elementwise.hpp"
#include "plait/typing/reduction.hpp"

namespace plait::inline v0_1 {
namespace detail {
template <class Q, class K>
struct attention_verdict {
  static constexpr typed value = typing::attention(Q::layout_type::value, K::layout_type::value);
};
template <class X>
struct rope_verdict {
  static constexpr typed value = typing::row_local(X::layout_type::value, X::rank);
};
/// The output: as many heads as q, as wide as v.
template <class Q, class K, class V>
using attended_t = result_t<typename Q::element, typename replace_last<typename Q::extents_type, V::extents_type::value[V::rank - 1]>::type,
                            typename Q::mesh, attention_verdict<Q, K>>;
template <class Q, class Sinks>
struct sinks_verdict {
  static constexpr typed value = typing::per_head(Q::layout_type::value, Sinks::layout_type::value);
};
/// One logit a head, in the queries' type, where the heads are.
template <class Q, class Sinks>
constexpr bool sinks_fit() {
  return check::elements_agree<std::is_same_v<typename Q::element, typename Sinks::element>, Q, Sinks>::ok &&
         check::extents_agree<Sinks::rank == 1, Q, Sinks>::ok && accept<typename Q::mesh, sinks_verdict<Q, Sinks>, Q, Sinks>::ok;
}
/// Everything that attention asks of its operands' types.
template <class Q, class K, class V, class Segments>
constexpr bool attention_fits() {
  using verdict = attention_verdict<Q, K>;
  return check::elements_agree<std::is_same_v<typename Q::element, typename K::element> && std::is_same_v<typename Q::element, typename V::element>, Q, K, V>::ok &&
         check::elements_agree<std::is_same_v<typename Segments::element, std::int32_t>, Segments, Q>::ok &&
         check::the_layout_is_the_one_wanted<(!verdict::value.ok() || K::layout_type::value == V::layout_type::value), V, K>::ok &&
         accept<typename Q::mesh, verdict, Q, K>::ok &&
         check::side_inputs_lie_as_their_rows<(!verdict::value.ok() || goes_with<Q, Segments>(2)), Segments, Q>::ok;
}
inline const array* array_of() { return nullptr; }
template <class X>
const array* array_of(const X& x) {
  return &x.data();
}
}  // namespace detail

/// Rotates each head by its position (arXiv 2104.09864). cosine, sine: [B, S, n] in the statistics' type, rows as x's; 2 n columns turn, by default the first
/// in halves as in Hugging Face.
template <class X, class Table>
X rope(context& c, const X& x, const Table& cosine, const Table& sine, rotary_form form = {}) {
  using verdict = detail::rope_verdict<X>;
  constexpr bool fits = check::elements_agree<std::is_same_v<typename Table::element, statistic_t<typename X::element>>, Table, X>::ok;
  if constexpr (fits && detail::accept<typename X::mesh, verdict, X>::ok &&
                check::side_inputs_lie_as_their_rows<(!verdict::value.ok() || detail::goes_with<X, Table>(2)), Table, X>::ok) {
    detail::require_alike(cosine.data(), x.data(), 2, "rope: the table of cosines is of other positions");
    detail::require_alike(sine.data(), cosine.data(), 3, "rope: there are not as many sines as cosines");
    return X(runtime::rope(c, x.data(), cosine.data(), sine.data(), form));
  } else {
    return x;
  }
}

/// softmax(scale q k^T) v, each query seeing its own segment up to itself. k and v may have fewer heads (each serves a group); the
/// output is as wide as v, which need not be as wide as q and k.
/// segment_start: int32 [B, S], first position that each position attends to. sinks (at most one tensor, [heads]): a logit a head more
/// in the softmax, with no value (arXiv 2309.17453).
template <class Q, class K, class V, class Segments, class... Sinks>
auto attention(context& c, const Q& q, const K& k, const V& v, const Segments& segment_start, double scale, const Sinks&... sinks) {
  static_assert(sizeof...(Sinks) <= 1);
  using result = detail::attended_t<Q, K, V>;
  if constexpr (detail::attention_fits<Q, K, V, Segments>() && (detail::sinks_fit<Q, Sinks>() && ... && true)) {
    const array* const sink = detail::array_of(sinks...);
    return result(runtime::attention(c, q.data(), k.data(), v.data(), segment_start.data(), scale, sink, detail::attention_verdict<Q, K>::value.out));
  } else {
    return result(q.data());
  }
}

}  // namespace plait::inline v0_1
