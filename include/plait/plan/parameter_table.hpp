#pragma once
// A model states its parameters as a constexpr table: one row per kind of parameter, layers folded by `*`.
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <utility>

#include "plait/mesh/axis.hpp"
#include "plait/plan/pattern.hpp"

namespace plait::inline v0_1 {

enum class layer_kind : std::uint8_t { any, dense, sparse };

/// An extent that the model's configuration supplies at run time: symbol(3) is its fourth number.
constexpr int symbol(int index) { return -2 - index; }
constexpr bool is_symbol(int extent) { return extent <= -2; }
constexpr int symbol_index(int extent) { return -2 - extent; }

struct shape {
  int rank = 0;
  int extent[4] = {};
  constexpr shape(std::initializer_list<int> sizes) {
    for (int s : sizes) extent[rank++] = s;
  }
};
/// Dim `dim` (negative: from the end) consists of indivisible units of `size` (a head is one).
struct unit {
  int dim = -1, size = 1;
  constexpr unit(int d, int s) : dim(d), size(s) {}
};
/// Dim `dim` (negative: from the end) holds `sections` tensors one after the other (gate | up).
struct packed {
  int dim = -1, sections = 1;
  constexpr packed(int d, int s) : dim(d), sections(s) {}
};
/// Axes need not divide this parameter's dims.
struct uneven {};
/// The row is there where the configuration gives this number, which is where it is not 0;
struct given {
  int symbol = -1;
  constexpr explicit given(int s) : symbol(s) {}
};
/// where it does not.
struct not_given {
  int symbol = -1;
  constexpr explicit not_given(int s) : symbol(s) {}
};
/// Not trained: ops read it in the statistics' type, it has neither gradient nor moments, no optimizer touches it, and FSDP leaves it as it
/// is. It is loaded, kept in checkpoints and exported like the others. (PyTorch's buffers.)
struct frozen {};
/// The point has one layout in all layers, as the residual stream that goes through them: covers refuses a rule for one layer.
struct one_for_all_layers {};

struct parameter {
  const char* name = nullptr;
  int rank = 0;
  int extent[4] = {};
  int unit_dim = -1, unit_size = 1;
  int packed_dim = -1, sections = 1;
  bool may_be_uneven = false;
  bool trained = true;
  layer_kind kind = layer_kind::any;
  int condition = -1;  // a symbol; -1: the row is always there
  bool where_zero = false;

  template <class... Attributes>
  constexpr parameter(const char* n, shape s, Attributes... attributes) : name(n), rank(s.rank) {
    for (int d = 0; d < rank; ++d) extent[d] = s.extent[d];
    (set(attributes), ...);
  }

 private:
  constexpr int from_end(int dim) const { return dim >= 0 ? dim : dim + rank >= 0 ? dim + rank : rank; }  // rank: covers refuses it
  constexpr void set(unit u) { unit_dim = from_end(u.dim), unit_size = u.size; }
  constexpr void set(packed p) { packed_dim = from_end(p.dim), sections = p.sections; }
  constexpr void set(uneven) { may_be_uneven = true; }
  constexpr void set(given g) { condition = g.symbol; }
  constexpr void set(not_given g) { condition = g.symbol, where_zero = true; }
  constexpr void set(frozen) { trained = false; }
  constexpr void set(layer_kind k) { kind = k; }
};

/// Rows of one table and then of another: `static constexpr auto table = with_rows(base::parameters, more); parameters = table.rows`.
template <std::size_t Count>
struct row_list {
  parameter rows[Count];
};
namespace detail {
template <std::size_t... First, std::size_t... Second>
constexpr row_list<sizeof...(First) + sizeof...(Second)> join_rows(const parameter* base, std::index_sequence<First...>, const parameter* more, std::index_sequence<Second...>) {
  return {{base[First]..., more[Second]...}};
}
}  // namespace detail
template <std::size_t Base, std::size_t More>
constexpr row_list<Base + More> with_rows(const parameter (&base)[Base], const parameter (&more)[More]) {
  return detail::join_rows(base, std::make_index_sequence<Base>{}, more, std::make_index_sequence<More>{});
}

/// A point of the forward pass at which a plan must say what layout it wants.
struct activation_point {
  const char* name = nullptr;
  int rank = 3;
  layer_kind kind = layer_kind::any;
  bool one_layout = false;

  template <class... Attributes>
  constexpr activation_point(const char* n, int r, Attributes... attributes) : name(n), rank(r) {
    (set(attributes), ...);
  }

 private:
  constexpr void set(layer_kind k) { kind = k; }
  constexpr void set(one_for_all_layers) { one_layout = true; }
};

/// One parameter under two names.
struct tie {
  const char* alias;
  const char* target;
};

namespace detail {
constexpr int text_length(const char* text) {
  int n = 0;
  while (text[n] != '\0') ++n;
  return n;
}
template <class Rows>
constexpr int row_count(const Rows& rows) {
  int n = 0;
  for (const auto& row : rows) static_cast<void>(row), ++n;
  return n;
}
constexpr bool same_text(const char* a, const char* b) {
  int i = 0;
  while (a[i] != '\0' && a[i] == b[i]) ++i;
  return a[i] == b[i];
}
}  // namespace detail

template <class Model>
inline constexpr int parameter_count = detail::row_count(Model::parameters);
template <class Model>
inline constexpr int activation_count = detail::row_count(Model::activations);

/// Row number of a parameter by its name in the table, and of an activation point; -1, which the types of a row or a point refuse with a
/// sentence, if there is none.
template <class Model>
consteval int row_of(const char* name, layer_kind kind = layer_kind::any) {
  if constexpr (requires { Model::parameters; })
    for (int r = 0; r < parameter_count<Model>; ++r)
      if (detail::same_text(Model::parameters[r].name, name) && (kind == layer_kind::any || Model::parameters[r].kind == kind)) return r;
  return -1;
}
template <class Model>
consteval int point_of(const char* name, layer_kind kind = layer_kind::any) {
  if constexpr (requires { Model::activations; })
    for (int r = 0; r < activation_count<Model>; ++r)
      if (detail::same_text(Model::activations[r].name, name) && Model::activations[r].kind == kind) return r;
  return -1;
}

}  // namespace plait::inline v0_1
