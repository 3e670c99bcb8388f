#pragma once
// recompute(f): run f without keeping what its ops would save; run it again in backward, then take its pullback.
#include <tuple>

#include "plait/ops/tensor.hpp"

namespace plait::inline v0_1 {
namespace detail {

template <class T>
void relink(T& value, std::vector<std::shared_ptr<gradient_slot>>& slots) {
  array& a = value.data();
  track(a);
  slots.push_back(a.gradient);
}

}  // namespace detail

/// f(context&, inputs...) -> a struct of tensors that can list them: result.each(visitor). Parameters may be captured by f.
/// The gradients equal those of f run plainly, bit for bit, since the second run repeats the first one's arithmetic.
template <class F, class... Inputs>
auto recompute(context& c, F f, const Inputs&... inputs) {
  if (c.recording == nullptr) return f(c, inputs...);
  tape* outer = c.recording;
  auto result = [&] {
    const scoped_value<tape*> unrecorded(c.recording, nullptr);
    return f(c, inputs...);
  }();
  std::vector<std::shared_ptr<gradient_slot>> slots;
  result.each([&](auto& value) { detail::relink(value, slots); });
  outer->push([f, slots, saved = std::tuple<Inputs...>(inputs...), where = c.where, layer = c.layer](context& b) {
    named_scope scope(b, where);
    b.layer = layer;
    tape inner;
    auto again = [&] {
      const scoped_value<tape*> recorded(b.recording, &inner);
      const scoped_value<bool> forward(b.in_backward, false);
      return std::apply([&](const auto&... x) { return f(b, x...); }, saved);
    }();
    std::size_t i = 0;
    again.each([&](auto& value) {
      const std::shared_ptr<gradient_slot>& from = slots[i++];
      if (from->filled && value.data().gradient != nullptr) detail::contribute(b, value.data().gradient, from->local, from->memory);
    });
    inner.backward(b);
  });
  return result;
}

}  // namespace plait::inline v0_1
