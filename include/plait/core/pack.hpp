#pragma once
// Two pack queries that cost O(1) instantiations a use: the nth type, and the position of a type.
#include <cstddef>
#include <type_traits>
#include <utility>

namespace plait::inline v0_1 {
namespace detail {

template <std::size_t Position, class Type>
struct indexed {
  using type = Type;
};

template <class Positions, class... Types>
struct indexed_pack;
template <std::size_t... Positions, class... Types>
struct indexed_pack<std::index_sequence<Positions...>, Types...> : indexed<Positions, Types>... {};

template <std::size_t Position, class Type>
indexed<Position, Type> select(const indexed<Position, Type>&);

}  // namespace detail

template <std::size_t Position, class... Types>
using nth_t =
    typename decltype(detail::select<Position>(detail::indexed_pack<std::index_sequence_for<Types...>, Types...>{}))::type;

/// Position of Type in Types, or -1.
template <class Type, class... Types>
constexpr int position_of() {
  constexpr bool same[sizeof...(Types) + 1] = {std::is_same_v<Type, Types>..., false};
  for (int i = 0; i < static_cast<int>(sizeof...(Types)); ++i)
    if (same[i]) return i;
  return -1;
}

}  // namespace plait::inline v0_1
