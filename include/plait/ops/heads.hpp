#pragma once
// Heads and their columns: what attention with a shared, narrower or partly rotated part is made of.
#include "plait/ops/dense.hpp"
#include "plait/runtime/op_heads.hpp"
#include "plait/typing/heads.hpp"

namespace plait::inline v0_1 {
namespace detail {
template <class X>
struct split_columns_verdict {
  static constexpr typed value = typing::split_columns(X::layout_type::value, X::rank);
};
template <class X, class Z>
struct join_columns_verdict {
  static constexpr typed value = typing::join_columns(X::layout_type::value, Z::layout_type::value, X::rank);
};
template <class X, class Layout>
struct repeat_heads_verdict {
  static constexpr typed value = typing::repeat_heads(X::layout_type::value, X::rank, Layout::value);
};
template <class Extents, int Size>
using with_heads = typename append_dim<typename replace_last<typename drop_last<Extents>::type, Size>::type, Extents::value[Extents::rank - 1]>::type;
/// [..., a] and [..., b] of the same rows.
template <class X, class Z>
constexpr bool same_rows() {
  if (X::rank != Z::rank) return false;
  for (int d = 0; d + 1 < X::rank; ++d)
    if (!compatible(X::extents_type::value[d], Z::extents_type::value[d])) return false;
  return true;
}
}  // namespace detail

/// Two parts of one tensor's columns.
template <class Part>
struct column_parts {
  Part left, right;
};

/// x [..., d] -> its first `columns` columns and the others. The last dim must be whole.
template <class X>
auto split_columns(context& c, const X& x, std::int64_t columns) {
  using verdict = detail::split_columns_verdict<X>;
  using part = detail::result_t<typename X::element, typename detail::replace_last<typename X::extents_type, dyn>::type, typename X::mesh, verdict>;
  if constexpr (detail::accept<typename X::mesh, verdict, X>::ok) {
    detail::require_extents(columns >= 0 && columns <= x.data().global[X::rank - 1], "split_columns: there are fewer columns than are taken");
    runtime::array_pair both = runtime::split_columns(c, x.data(), columns, verdict::value.out);
    return column_parts<part>{part(std::move(both.left)), part(std::move(both.right))};
  } else {
    return column_parts<part>{part(x.data()), part(x.data())};
  }
}

/// x [..., a] and z [..., b], laid out alike -> [..., a + b].
template <class X, class Z>
auto join_columns(context& c, const X& x, const Z& z) {
  using verdict = detail::join_columns_verdict<X, Z>;
  using result = detail::result_t<typename X::element, typename detail::replace_last<typename X::extents_type, dyn>::type, typename X::mesh, verdict>;
  constexpr bool fits = check::elements_agree<std::is_same_v<typename X::element, typename Z::element>, X, Z>::ok &&
                        check::extents_agree<detail::same_rows<X, Z>(), X, Z>::ok;
  if constexpr (fits && detail::accept<typename X::mesh, verdict, X, Z>::ok) {
    detail::require_alike(x.data(), z.data(), X::rank - 1, "join_columns: the operands have unlike rows");
    return result(runtime::join_columns(c, x.data(), z.data(), verdict::value.out));
  } else {
    return result(x.data());
  }
}

/// [..., d] -> [..., 1, d]: one head.
template <class X>
auto as_one_head(context& c, const X& x) {
  using verdict = detail::split_columns_verdict<X>;
  using extents_2 = typename detail::append_dim<typename detail::replace_last<typename X::extents_type, 1>::type, detail::last_extent<X>>::type;
  using result = detail::result_t<typename X::element, extents_2, typename X::mesh, verdict>;
  if constexpr (detail::accept<typename X::mesh, verdict, X>::ok) {
    const array& a = x.data();
    std::int64_t local[max_rank], global[max_rank];
    for (int d = 0; d < X::rank; ++d) local[d] = a.local.extent[d], global[d] = a.global[d];
    local[X::rank] = local[X::rank - 1], global[X::rank] = global[X::rank - 1];
    local[X::rank - 1] = global[X::rank - 1] = 1;
    return result(runtime::reshape(c, a, X::rank + 1, local, global, verdict::value.out));
  } else {
    return result(x.data());
  }
}

/// x [..., h, d] -> [..., heads, d] laid out as Layout, each head heads / h times in a row. Where Layout cuts the heads and x is
/// Replicate, each rank makes the copies it needs, and x's gradient is a pending sum over the ranks: keys that several ranks'
/// queries share, the one rotary key of multi-head latent attention.
template <class Layout, class X>
auto repeat_heads(context& c, const X& x, std::int64_t heads) {
  using verdict = detail::repeat_heads_verdict<X, Layout>;
  using result = detail::result_t<typename X::element, detail::with_heads<typename X::extents_type, dyn>, typename X::mesh, verdict>;
  if constexpr (detail::accept<typename X::mesh, verdict, X, Layout>::ok) {
    const std::int64_t have = x.data().global[X::rank - 2];
    detail::require_extents(have > 0 && heads % have == 0, "repeat_heads: the heads wanted are no multiple of those there are");
    return result(runtime::repeat_heads(c, x.data(), heads, verdict::value.out));
  } else {
    return result(x.data());
  }
}

}  // namespace plait::inline v0_1
