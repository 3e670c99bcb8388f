#pragma once
// Rules: pattern -> style (parameters), pattern -> layout wanted (activations). Two lists, so that an activation rule can never
// be taken for a parameter's.
#include "plait/core/fixed_string.hpp"
#include "plait/plan/parameter_table.hpp"
#include "plait/plan/precision.hpp"
#include "plait/style/fsdp.hpp"
#include "plait/style/style.hpp"
#include "plait/tensor/layout.hpp"

namespace plait::inline v0_1 {

struct plan_default {};

/// rule<"layers.*.self_attn.q_proj", colwise<tp>>, optionally with an FSDP axis of its own: rule<"...experts...", grouped_gemm<ep>,
/// fsdp<efsdp>>.
template <fixed_string Pattern, class Style, class Storage = plan_default>
struct rule {
  static constexpr std::string_view pattern = Pattern.view();
  using style = Style;
  using storage = Storage;
};

/// Restricts an activation rule to one kind of layer.
template <layer_kind Kind>
struct only {};

namespace detail {
/// The layout that entries state; something else among them is left to covers to report.
template <bool Stated, class Mesh, class... Entries>
struct stated_layout {
  using type = layout<Mesh>;
};
template <class Mesh, class... Entries>
struct stated_layout<true, Mesh, Entries...> {
  using type = layout<Mesh, Entries...>;
};
// By types alone: nvcc does not match a partial specialization that deduces the string as well.
template <class... Entries>
struct activation_statement {
  static constexpr layer_kind kind = layer_kind::any;
  static constexpr bool entries_only = (layout_entry<Entries> && ... && true);
  template <class Mesh>
  using layout_in = typename stated_layout<entries_only, Mesh, Entries...>::type;
};
template <class... Entries>
struct activation_entries : activation_statement<Entries...> {};
template <layer_kind Kind, class... Entries>
struct activation_entries<only<Kind>, Entries...> : activation_statement<Entries...> {
  static constexpr layer_kind kind = Kind;
};
}  // namespace detail

/// activation<"layers.*.self_attn", on<data, Shard<0>>>: what enters here must be so laid out (axes not named: Replicate).
template <fixed_string Point, class... Entries>
struct activation : detail::activation_entries<Entries...> {
  static constexpr std::string_view pattern = Point.view();
};

template <class... Rules>
struct parameters {
  static constexpr int count = sizeof...(Rules);
};
template <class... Rules>
struct activations {
  static constexpr int count = sizeof...(Rules);
};
/// The FSDP axis of every parameter whose rule names none.
template <class Storage>
struct everywhere {
  using storage = Storage;
};

}  // namespace plait::inline v0_1
