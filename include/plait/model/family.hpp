#pragma once
// A model family: its plans by (SP, EP) and precision. The four-way choice from the flags is one function; a missing table is an
// error, never a fallback. Registering other plan types replaces the built-in tables.
#include <memory>
#include <string>

#include "plait/model/decoder_model.hpp"
#include "plait/model/dispatch_plan.hpp"
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

/// Whether experts are shared out over ranks, and how tokens come to them: gathered by every rank, or sent to the experts they chose.
enum class ep_mode : unsigned char { none, gather, dispatch };

struct family {
  const char* name = "";
  plan_choice plans[3][2][3] = {};  // [dtype][sp][ep_mode]
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
/// The table of a bfloat16 plan with its states in bfloat16 as well: the same decoder works over it.
template <class Plan, class Model>
const plan_table* with_narrow_states() {
  static_assert(std::is_same_v<bfloat16_precision::compute, bfloat16_states_precision::compute>);
  static const plan_table states = [] {
    plan_table t = table_of<Plan, Model>();
    t.types = types_of<bfloat16_states_precision>();
    return t;
  }();
  return &states;
}
template <class Plan, class Model>
void add_plan(family& f, bool sp, ep_mode ep) {
  if constexpr (!std::is_same_v<Plan, no_plan>) {
    const std::size_t mode = static_cast<std::size_t>(ep);
    f.plans[0][sp][mode] = choice_of<Plan, Model>();
    using narrow = with_precision<Plan, bfloat16_precision>;
    f.plans[1][sp][mode] = f.plans[2][sp][mode] = choice_of<narrow, Model>();
    f.plans[2][sp][mode].table = &with_narrow_states<narrow, Model>;
    if constexpr (offers_repeated_heads<narrow, Model>)
      f.plans[2][sp][mode].repeating_table = &with_narrow_states<repeated_heads_plan<narrow, Model>, Model>;
  }
}
/// The expert-parallel plan with tokens that are sent: derived on the training mesh.
template <class Plan, class Model>
auto dispatch_of() {
  if constexpr (std::is_same_v<Plan, no_plan>) return no_plan{};
  else if constexpr (std::is_same_v<typename Plan::mesh, training_mesh>) return with_dispatch<Plan, Model>{};
  else return no_plan{};
}
}  // namespace detail

/// A family's four plans; those with --ep-mode dispatch are derived, unless they are given (or taken away: no_plan).
template <class Model, class Tp, class Sp, class TpEp, class SpEp, class TpDispatch = decltype(detail::dispatch_of<TpEp, Model>()),
          class SpDispatch = decltype(detail::dispatch_of<SpEp, Model>())>
family make_family() {
  family f;
  f.name = Model::name;
  detail::add_plan<Tp, Model>(f, false, ep_mode::none);
  detail::add_plan<Sp, Model>(f, true, ep_mode::none);
  detail::add_plan<TpEp, Model>(f, false, ep_mode::gather);
  detail::add_plan<SpEp, Model>(f, true, ep_mode::gather);
  detail::add_plan<TpDispatch, Model>(f, false, ep_mode::dispatch);
  detail::add_plan<SpDispatch, Model>(f, true, ep_mode::dispatch);
  return f;
}

/// Does a rank send no more bytes for a layer's experts, forward or backward, if tokens are dispatched and spread evenly? Per token of the
/// ranks that share out the experts (`mesh`: fsdp_outer, fsdp_inner, tp), in units of its row.
inline bool dispatch_sends_no_more(bool sp, const mesh_shape& mesh, std::int64_t top_k) {
  const double inner = mesh.size[1], across = mesh.size[2], n = inner * across;
  const double there_and_back = 2 * static_cast<double>(top_k) * (n - 1) / (n * n);
  const double gathers_stream = (across - 1) / (across * inner);  // of a stream that is whole over tp, all-gather; an all-reduce is two
  const double gathered = sp ? 2 * (n - 1) / n : 2 * (inner - 1) / inner + 2 * gathers_stream;
  return there_and_back + (sp ? 0 : gathers_stream) <= gathered + 1e-9;
}
/// The mode to take if none is asked for: dispatch where it sends no more (with equal bytes it was the faster one, and it needs less
/// memory), gather elsewhere and where the family has no dispatch.
inline ep_mode cheaper_ep_mode(const family& f, bool sp, const mesh_shape& mesh, std::int64_t top_k) {
  const bool offered = f.plans[0][sp][static_cast<std::size_t>(ep_mode::dispatch)].table != nullptr;
  return offered && dispatch_sends_no_more(sp, mesh, top_k) ? ep_mode::dispatch : ep_mode::gather;
}

/// The plan that the flags ask for.
inline const plan_choice& choose_plan(const family& f, bool sp, ep_mode ep, training_dtype type) {
  const plan_choice& choice = f.plans[static_cast<std::size_t>(type)][sp][static_cast<std::size_t>(ep)];
  constexpr const char* flags[] = {"no --ep", "--ep", "--ep --ep-mode dispatch"};
  if (choice.table == nullptr)
    throw plan_misfit(std::string("family '") + f.name + "' has no plan for " + (sp ? "--sp" : "no --sp") + " with " + flags[static_cast<std::size_t>(ep)] +
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
