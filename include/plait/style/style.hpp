#pragma once
// A parallel style is five slots on one axis: where the weight lies, where the bias lies, how the input must arrive, and what
// becomes of the output. It holds no code: the collectives are the redistributions the slots name, and their adjoints.
// Your own style is any type with these five members and an axis; deriving from `style` is the short way.
#include "plait/mesh/axis.hpp"
#include "plait/placement/placement.hpp"

namespace plait::inline v0_1 {

/// Output slot: the product must come out so placed; nothing moves.
template <class Placement>
struct stays {
  using placement = Placement;
  static constexpr bool moves = false;
};
/// Output slot: the product is redistributed to this placement; a bias is added after that.
template <class Placement>
struct becomes {
  using placement = Placement;
  static constexpr bool moves = true;
};

template <class Axis, class Weight, class Bias, class Input, class Output>
struct style {
  using axis = Axis;
  using weight = Weight;
  using bias = Bias;
  using input = Input;
  using output = Output;
};

template <class S>
concept parallel_style = requires {
  typename S::axis;
  S::weight::value;
  S::bias::value;
  S::input::value;
  S::output::placement::value;
  S::output::moves;
};

}  // namespace plait::inline v0_1
