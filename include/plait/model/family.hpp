#pragma once
// A model family: its plans by (SP, EP) and precision. The four-way choice from the flags is one function; a missing table is an
// error, never a fallback. Registering other plan types replaces the built-in tables.
#include <memory>
#include <string>

#include "plait/model/decoder_model.hpp"
#include "plait/train/plan_table.hpp"

namespace plait::inline v0_1 {

struct plan_choice {
  const plan_table* (*table)() = nullptr;
  const plan_table* (*repeating_table)() = nullptr;  // with repeated key and value heads; null: not offered
  std::unique_ptr<any_model> (*make)(const io::model_config&, parameter_store&, decoder_options) = nullptr;
};

/// The precision policies that families are built with: float32_, bfloat16_ and bfloat16_states_precision.
enum class training_dtype : unsigned char { f32, bf16, bf16_states };
inline const char* name_of(training_dtype type) {
  return type == training_dtype::f32 ? "f32" : type == training_dtype::bf16 ? "bf16" : "bf16-states";
}

struct family {
  const char* name = "";
  plan_choice plans[3][2][2] = {};  // [dtype][sp][ep]
};

/// "No table": a family that does not offer a combination.
struct no_plan {};

namespace detail {
template <class Plan, class Model>
plan_choice choice_of() {
  const plan_table* (*repeating)() = nullptr;
  if constexpr (offers_repeated_heads<Plan, Model>)
    repeating = []() -> const plan_table* { return &table_of<repeated_heads_plan<Plan, Model>, Model>(); };
  return {[]() -> const plan_table* { return &table_of<Plan, Model>(); },
          repeating,
          [](const io::model_config& config, parameter_store& store, decoder_options options) -> std::unique_ptr<any_model> {
            return std::make_unique<decoder_model<Plan, Model>>(config, store, options);
          }};
}
template <class Plan, class Model>
void add_plan(family& f, bool sp, bool ep) {
  if constexpr (!std::is_same_v<Plan, no_plan>) {
    f.plans[0][sp][ep] = choice_of<Plan, Model>();
    using narrow = with_precision<Plan, bfloat16_precision>;
    f.plans[1][sp][ep] = f.plans[2][sp][ep] = choice_of<narrow, Model>();
    f.plans[2][sp][ep].table = []() -> const plan_table* {  // the same decoder over other states
      static_assert(std::is_same_v<bfloat16_precision::compute, bfloat16_states_precision::compute>);
      static const plan_table states = [] {
        plan_table t = table_of<narrow, Model>();
        t.types = types_of<bfloat16_states_precision>();
        return t;
      }();
      return &states;
    };
  }
}
}  // namespace detail

template <class Model, class Tp, class Sp, class TpEp, class SpEp>
family make_family() {
  family f;
  f.name = Model::name;
  detail::add_plan<Tp, Model>(f, false, false);
  detail::add_plan<Sp, Model>(f, true, false);
  detail::add_plan<TpEp, Model>(f, false, true);
  detail::add_plan<SpEp, Model>(f, true, true);
  return f;
}

/// The plan that the flags ask for.
inline const plan_choice& choose_plan(const family& f, bool sp, bool ep, training_dtype type) {
  const plan_choice& choice = f.plans[static_cast<std::size_t>(type)][sp][ep];
  if (choice.table == nullptr)
    throw plan_misfit(std::string("family '") + f.name + "' has no plan for " + (sp ? "--sp" : "no --sp") + " with " + (ep ? "--ep" : "no --ep") +
                      "; choose flags that it offers, or register a plan of your own");
  return choice;
}

/// The plan's parameters, with key and value heads cut or whole and repeated (decoder_options::repeat_heads).
inline const plan_table& table_of(const plan_choice& choice, bool repeat_heads) {
  if (!repeat_heads) return *choice.table();
  if (choice.repeating_table == nullptr)
    throw plan_misfit("this family's plan does not cut keys and values by head, so it cannot repeat them; leave out --kv-heads replicate");
  return *choice.repeating_table();
}

}  // namespace plait::inline v0_1
