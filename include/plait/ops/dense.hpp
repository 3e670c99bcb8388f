#pragma once
// Dense typed ops. No op communicates: each checks its operands' types, then makes one run-time call.
#include "plait/ops/redistribute.hpp"
#include "plait/runtime/op_dense.hpp"
#include "plait/typing/contraction.hpp"
#include "plait/typing/elementwise.hpp"

namespace plait::inline v0_1 {
namespace detail {

template <class X, class W>
struct linear_verdict {
  static constexpr typed value = typing::linear(X::layout_type::value, X::rank, W::layout_type::value);
};
template <class X, class B>
struct bias_verdict {
  static constexpr typed value = typing::bias_add(X::layout_type::value, X::rank, B::layout_type::value);
};
template <class X, class Y>
struct add_verdict {
  static constexpr typed value = typing::add(X::layout_type::value, Y::layout_type::value);
};
template <class X>
struct scale_verdict {
  static constexpr typed value = typing::scale(X::layout_type::value);
};
template <class X, class W>
struct norm_verdict {
  static constexpr typed value = typing::row_norm(X::layout_type::value, X::rank, W::layout_type::value);
};
template <class X>
struct packed_gate_verdict {
  static constexpr typed value = typing::packed_gate(X::layout_type::value, X::rank);
};
template <class X>
struct paired_gate_verdict {
  static constexpr typed value = typing::paired_gate(X::layout_type::value, X::rank);
};
template <class X>
struct unit_norm_verdict {
  static constexpr typed value = typing::row_local(X::layout_type::value, X::rank);
};
template <class X>
struct unary_verdict {
  static constexpr typed value = typing::elementwise(X::layout_type::value);
};
template <class X, class Y>
struct elementwise_verdict {
  static constexpr typed value = typing::elementwise(X::layout_type::value, Y::layout_type::value);
};
template <class Ids, class W>
struct embedding_verdict {
  static constexpr typed value = typing::embedding(Ids::layout_type::value, Ids::rank, W::layout_type::value);
};
template <class X>
struct split_verdict {
  static constexpr typed value = typing::split_last(X::layout_type::value, X::rank);
};
template <class X>
struct merge_verdict {
  static constexpr typed value = typing::merge_last(X::layout_type::value, X::rank);
};

template <class X>
constexpr int last_extent = X::extents_type::value[X::rank - 1];

/// Operands of one shape.
template <class X, class Z>
constexpr bool same_extents() {
  if (X::rank != Z::rank) return false;
  for (int d = 0; d < X::rank; ++d)
    if (!compatible(X::extents_type::value[d], Z::extents_type::value[d])) return false;
  return true;
}
/// A vector along the last dim of x.
template <class X, class V>
constexpr bool fits_last_dim() {
  return V::rank == 1 && compatible(last_extent<X>, V::extents_type::value[0]);
}

inline void require_extents(bool ok, const char* what) {
  if (!ok) throw std::invalid_argument(std::string("plait[extent-mismatch]: ") + what);
}
/// The first `dims` global extents of x are those of z from dim `shift` on. Types cannot say so where extents are dyn.
inline void require_alike(const array& x, const array& z, int dims, const char* what, int shift = 0) {
  for (int d = 0; d < dims; ++d) require_extents(x.global[d] == z.global[d + shift], what);
}

}  // namespace detail

/// y[..., out] = x[..., in] W[out, in]^T.
template <class X, class W>
auto linear(context& c, const X& x, const W& w) {
  using verdict = detail::linear_verdict<X, W>;
  using result = detail::result_t<typename X::element, typename detail::replace_last<typename X::extents_type, W::extents_type::value[0]>::type,
                                  typename X::mesh, verdict>;
  constexpr bool fits = check::elements_agree<std::is_same_v<typename X::element, typename W::element>, X, W>::ok &&
                        check::extents_agree<W::rank == 2 && compatible(detail::last_extent<X>, detail::last_extent<W>), X, W>::ok;
  if constexpr (fits && detail::accept<typename X::mesh, verdict, X, W>::ok) {
    detail::require_extents(x.data().global[X::rank - 1] == w.data().global[1], "linear: the input's last extent is not the weight's second");
    return result(runtime::linear(c, x.data(), w.data(), verdict::value.out));
  } else {
    return result(x.data());
  }
}

/// y = x + b over the last dim.
template <class X, class B>
auto bias_add(context& c, const X& x, const B& b) {
  using verdict = detail::bias_verdict<X, B>;
  using result = detail::result_t<typename X::element, typename X::extents_type, typename X::mesh, verdict>;
  constexpr bool fits = check::elements_agree<std::is_same_v<typename X::element, typename B::element>, X, B>::ok &&
                        check::extents_agree<detail::fits_last_dim<X, B>(), X, B>::ok;
  if constexpr (fits && detail::accept<typename X::mesh, verdict, X, B>::ok) {
    detail::require_extents(x.data().global[X::rank - 1] == b.data().global[0], "bias_add: the input's last extent is not the bias's");
    return result(runtime::bias_add(c, x.data(), b.data(), verdict::value.out));
  } else {
    return result(x.data());
  }
}

/// y = x + z, laid out alike; a pending sum plus a pending sum is one.
template <class X, class Z>
auto add(context& c, const X& x, const Z& z) {
  using verdict = detail::add_verdict<X, Z>;
  using result = detail::result_t<typename X::element, typename X::extents_type, typename X::mesh, verdict>;
  constexpr bool fits = check::elements_agree<std::is_same_v<typename X::element, typename Z::element>, X, Z>::ok &&
                        check::extents_agree<detail::same_extents<X, Z>(), X, Z>::ok;
  if constexpr (fits && detail::accept<typename X::mesh, verdict, X, Z>::ok) {
    detail::require_alike(x.data(), z.data(), X::rank, "add: the operands have unlike extents");
    return result(runtime::add(c, x.data(), z.data(), verdict::value.out));
  } else {
    return result(x.data());
  }
}

/// y = factor * x: linear, so a pending sum passes.
template <class E, class X, class L>
tensor<E, X, L> scale(context& c, const tensor<E, X, L>& x, double factor) {
  using value = tensor<E, X, L>;
  if constexpr (detail::accept<typename L::mesh, detail::scale_verdict<value>, value>::ok) {
    return value(runtime::scale(c, x.data(), factor));
  } else {
    return x;
  }
}

/// y = x in [-limit, limit]; what is beyond has no gradient.
template <class X>
X clamp(context& c, const X& x, double limit) {
  if constexpr (detail::accept<typename X::mesh, detail::unary_verdict<X>, X>::ok) return X(runtime::clamp(c, x.data(), limit));
  else return x;
}

/// RMSNorm over the last dim (arXiv 1910.07467), weight [last].
template <class X, class W>
auto rms_norm(context& c, const X& x, const W& w, double epsilon) {
  using verdict = detail::norm_verdict<X, W>;
  using result = detail::result_t<typename X::element, typename X::extents_type, typename X::mesh, verdict>;
  constexpr bool fits = check::elements_agree<std::is_same_v<typename X::element, typename W::element>, X, W>::ok &&
                        check::extents_agree<detail::fits_last_dim<X, W>(), X, W>::ok;
  if constexpr (fits && detail::accept<typename X::mesh, verdict, X, W>::ok) {
    detail::require_extents(x.data().global[X::rank - 1] == w.data().global[0], "rms_norm: the input's last extent is not the weight's");
    return result(runtime::rms_norm(c, x.data(), w.data(), epsilon, verdict::value.out));
  } else {
    return result(x.data());
  }
}

/// LayerNorm over the last dim (arXiv 1607.06450), weight and bias [last]: RMSNorm of the row minus its mean, and the bias.
template <class X, class W, class B>
auto layer_norm(context& c, const X& x, const W& w, const B& b, double epsilon) {
  using verdict = detail::norm_verdict<X, W>;
  using result = detail::result_t<typename X::element, typename X::extents_type, typename X::mesh, verdict>;
  if constexpr (detail::accept<typename X::mesh, verdict, X, W>::ok) {
    return bias_add(c, rms_norm(c, result(runtime::centre_rows(c, x.data(), X::layout_type::value)), w, epsilon), b);
  } else {
    return result(x.data());
  }
}

/// The same without a weight.
template <class E, class X, class L>
tensor<E, X, L> rms_norm(context& c, const tensor<E, X, L>& x, double epsilon) {
  using value = tensor<E, X, L>;
  using verdict = detail::unit_norm_verdict<value>;
  if constexpr (detail::accept<typename L::mesh, verdict, value>::ok) {
    return value(runtime::rms_norm(c, x.data(), epsilon, verdict::value.out));
  } else {
    return x;
  }
}

/// A gated activation over a packed last dim: [gate | up] or, Paired, gate and up in turn.
template <bool Paired, class X>
auto gated(context& c, const X& packed, gated_options options) {
  using verdict = std::conditional_t<Paired, detail::paired_gate_verdict<X>, detail::packed_gate_verdict<X>>;
  constexpr int last = detail::last_extent<X>;
  using result = detail::result_t<typename X::element, typename detail::replace_last<typename X::extents_type, last == dyn ? dyn : last / 2>::type,
                                  typename X::mesh, verdict>;
  if constexpr (detail::accept<typename X::mesh, verdict, X>::ok) {
    options.interleaved = Paired;
    detail::require_extents(packed.data().local.extent[X::rank - 1] % 2 == 0, "gated: an axis parts a gate from its up");
    return result(runtime::swiglu(c, packed.data(), options, verdict::value.out));
  } else {
    return result(packed.data());
  }
}
/// silu(gate) * up over a packed last dim [gate | up] (arXiv 2002.05202).
template <class X>
auto swiglu(context& c, const X& packed) {
  return gated<false>(c, packed, {});
}

/// silu(gate) * up, laid out alike.
template <class X, class Y>
auto swiglu(context& c, const X& gate, const Y& up) {
  using verdict = detail::elementwise_verdict<X, Y>;
  using result = detail::result_t<typename X::element, typename X::extents_type, typename X::mesh, verdict>;
  constexpr bool fits = check::elements_agree<std::is_same_v<typename X::element, typename Y::element>, X, Y>::ok &&
                        check::extents_agree<detail::same_extents<X, Y>(), X, Y>::ok;
  if constexpr (fits && detail::accept<typename X::mesh, verdict, X, Y>::ok) {
    detail::require_alike(gate.data(), up.data(), X::rank, "swiglu: gate and up have unlike extents");
    return result(runtime::swiglu(c, gate.data(), up.data(), verdict::value.out));
  } else {
    return result(gate.data());
  }
}

/// Rows of table[V, H] by ids (int64). Ids outside the vocabulary give zeros and a fault. The gradient goes to the rows of
/// `learning_ids`: where those are below zero, to none.
template <class Ids, class W>
auto embedding(context& c, const Ids& ids, const Ids& learning_ids, const W& table) {
  using verdict = detail::embedding_verdict<Ids, W>;
  using result = detail::result_t<typename W::element, typename detail::append_dim<typename Ids::extents_type, W::extents_type::value[1]>::type,
                                  typename W::mesh, verdict>;
  constexpr bool fits = check::elements_agree<std::is_same_v<typename Ids::element, std::int64_t>, Ids, W>::ok;
  if constexpr (fits && detail::accept<typename W::mesh, verdict, Ids, W>::ok) {
    const array& t = table.data();
    const index_set held = held_indices(W::layout_type::value, 0, t.global[0], c.mesh.size, c.coordinate);
    return result(runtime::embedding(c, ids.data(), learning_ids.data(), t, held.count == 0 ? t.global[0] : held.range[0].begin, verdict::value.out));
  } else {
    return result(ids.data());
  }
}

template <class Ids, class W>
auto embedding(context& c, const Ids& ids, const W& table) {
  return embedding(c, ids, ids, table);
}

/// [..., heads * d] -> [..., heads, d]. A cut stays on heads.
template <class X>
auto split_heads(context& c, const X& x, std::int64_t head_dim) {
  using verdict = detail::split_verdict<X>;
  using extents_2 = typename detail::append_dim<typename detail::replace_last<typename X::extents_type, dyn>::type, dyn>::type;
  using result = detail::result_t<typename X::element, extents_2, typename X::mesh, verdict>;
  if constexpr (detail::accept<typename X::mesh, verdict, X>::ok) {
    const array& a = x.data();
    const int last = X::rank - 1;
    detail::require_extents(a.local.extent[last] % head_dim == 0, "split_heads: an axis cuts through a head");
    std::int64_t local[max_rank], global[max_rank];
    for (int d = 0; d < last; ++d) local[d] = a.local.extent[d], global[d] = a.global[d];
    local[last] = a.local.extent[last] / head_dim;
    global[last] = a.global[last] / head_dim;
    local[last + 1] = global[last + 1] = head_dim;
    return result(runtime::reshape(c, a, X::rank + 1, local, global, verdict::value.out));
  } else {
    return result(x.data());
  }
}

/// [..., heads, d] -> [..., heads * d].
template <class X>
auto merge_heads(context& c, const X& x) {
  using verdict = detail::merge_verdict<X>;
  using extents_2 = typename detail::replace_last<typename detail::drop_last<typename X::extents_type>::type, dyn>::type;
  using result = detail::result_t<typename X::element, extents_2, typename X::mesh, verdict>;
  if constexpr (detail::accept<typename X::mesh, verdict, X>::ok) {
    const array& a = x.data();
    const int last = X::rank - 2;
    std::int64_t local[max_rank], global[max_rank];
    for (int d = 0; d < last; ++d) local[d] = a.local.extent[d], global[d] = a.global[d];
    local[last] = a.local.extent[last] * a.local.extent[last + 1];
    global[last] = a.global[last] * a.global[last + 1];
    return result(runtime::reshape(c, a, X::rank - 1, local, global, verdict::value.out));
  } else {
    return result(x.data());
  }
}

}  // namespace plait::inline v0_1
