#pragma once
// How the ranks of one mesh axis hold one tensor. Types at the edge (compilers print `Shard<0>`), values inside: every rule of
// the library is an ordinary constexpr function over placement_value. The names are DTensor's where DTensor has one.
#include <cstdint>

namespace plait::inline v0_1 {

enum class placement_kind : std::uint8_t { replicate, invariant, shard, strided_shard, partial, partial_max, ragged };

struct placement_value {
  placement_kind kind = placement_kind::replicate;
  std::int8_t dim = 0;       // of shard and strided_shard; negative counts from the last dim until resolved. Of ragged: 1 if by token
  std::int8_t sections = 1;  // of strided_shard

  friend constexpr bool operator==(const placement_value&, const placement_value&) = default;

  constexpr bool cuts() const { return kind == placement_kind::shard || kind == placement_kind::strided_shard; }
  constexpr bool cuts(int d) const { return cuts() && dim == d; }
  constexpr bool by_token() const { return kind == placement_kind::ragged && dim == 1; }
  /// The same placement with a negative dim counted from the end of a tensor of `rank` dims.
  constexpr placement_value resolved(int rank) const {
    placement_value v = *this;
    if (v.cuts() && v.dim < 0) v.dim = static_cast<std::int8_t>(v.dim + rank);
    return v;
  }
};

/// Every rank holds the same value and uses it on its own: n uses. Its gradient is a pending sum.
struct Replicate {
  static constexpr placement_value value{placement_kind::replicate, 0, 1};
};
/// Every rank holds the same value and does identical work with it: one use. Its gradient is Invariant too.
struct Invariant {
  static constexpr placement_value value{placement_kind::invariant, 0, 1};
};
/// Cut along tensor dim Dim (negative: from the end, in styles only).
template <int Dim>
struct Shard {
  static constexpr placement_value value{placement_kind::shard, Dim, 1};
};
/// Dim holds Sections packed tensors (gate | up); each of them is cut, and a rank holds its piece of every section.
template <int Dim, int Sections>
struct StridedShard {
  static_assert(Sections >= 2 && Sections <= 4, "plait[sections]: StridedShard packs 2 to 4 tensors; use Shard for one");
  static constexpr placement_value value{placement_kind::strided_shard, Dim, Sections};
};
/// The value is the sum of what the ranks hold.
struct Partial {
  static constexpr placement_value value{placement_kind::partial, 0, 1};
};
/// The value is the maximum of what the ranks hold. No gradient flows through it.
struct PartialMax {
  static constexpr placement_value value{placement_kind::partial_max, 0, 1};
};
/// Ranks hold different rows of no known global tensor, in local regions only: each those that go to its experts.
struct Ragged {
  static constexpr placement_value value{placement_kind::ragged, 0, 1};
};
/// The same rows, each still (or again) on the rank of its token: an exchange makes them Ragged, and back.
struct RaggedByToken {
  static constexpr placement_value value{placement_kind::ragged, 1, 1};
};

template <class P>
concept placement_type = requires { P::value.kind; };

namespace detail {
// Scalars only: g++ 12 cannot deduce a structural value inside a template argument.
template <int Kind, int Dim, int Sections>
struct placement_of_scalars;
template <int D, int S>
struct placement_of_scalars<0, D, S> { using type = Replicate; };
template <int D, int S>
struct placement_of_scalars<1, D, S> { using type = Invariant; };
template <int D, int S>
struct placement_of_scalars<2, D, S> { using type = Shard<D>; };
template <int D, int S>
struct placement_of_scalars<3, D, S> { using type = StridedShard<D, S>; };
template <int D, int S>
struct placement_of_scalars<4, D, S> { using type = Partial; };
template <int D, int S>
struct placement_of_scalars<5, D, S> { using type = PartialMax; };
template <int S>
struct placement_of_scalars<6, 0, S> { using type = Ragged; };
template <int S>
struct placement_of_scalars<6, 1, S> { using type = RaggedByToken; };
}  // namespace detail

constexpr const char* name_of(placement_kind kind) {
  switch (kind) {
    case placement_kind::replicate: return "Replicate";
    case placement_kind::invariant: return "Invariant";
    case placement_kind::shard: return "Shard";
    case placement_kind::strided_shard: return "StridedShard";
    case placement_kind::partial: return "Partial";
    case placement_kind::partial_max: return "PartialMax";
    case placement_kind::ragged: return "Ragged";
  }
  return "?";
}

/// Placement of the gradient of a value so placed. An involution: grad_of(grad_of(p)) == p. PartialMax has no gradient; it maps
/// to itself here and every caller that differentiates refuses it first.
constexpr placement_value grad_of(placement_value p) {
  if (p.kind == placement_kind::replicate) return Partial::value;
  if (p.kind == placement_kind::partial) return Replicate::value;
  return p;
}

}  // namespace plait::inline v0_1
