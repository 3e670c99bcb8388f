#pragma once
// A decoder instantiated for one plan and model, behind the any_model interface.
#include "plait/model/decoder.hpp"
#include "plait/ops/values.hpp"
#include "plait/train/step.hpp"

namespace plait::inline v0_1 {

template <class Plan, class Model>
class decoder_model final : public any_model {
 public:
  decoder_model(const io::model_config& config, parameter_store& store, decoder_options options)
      : rope_(config.rope), store_(&store), decoder_(config, store, options) {}

  slice_result run(context& c, const batch& slice, const loss_scale* scale, bool train, bool want_logits) override {
    tape recorded;
    const scoped_value<tape*> recording(c.recording, train ? &recorded : nullptr);
    auto out = decoder_.forward(c, slice, scale);
    slice_result r;
    if (want_logits) {
      const scoped_value<tape*> unrecorded(c.recording, nullptr);
      r.logits = whole(c, out.logits);
    }
    { const auto dropped = std::move(out.logits); }  // the largest tensor: backward may write over it
    if (train) backward(c, *out.loss);
    store_->drop_all();
    if (scale != nullptr) {  // read when all is queued: reading waits for the queue
      r.loss = value_of(c, *out.loss);
      if (out.aux_loss) r.aux_loss = value_of(c, *out.aux_loss);
      if (out.statistics) {
        const auto statistics = values_of(c, *out.statistics);
        r.expert_choices.assign(statistics.begin(), statistics.begin() + statistics.size() / 2);
      }
    }
    return r;
  }
  array next_logits(context& c, const batch& tokens, decoder_cache& cache) override {
    const auto out = decoder_.forward(c, tokens, nullptr, &cache);
    store_->drop_all();
    return whole(c, out.logits);
  }
  bool keys_hold(std::int64_t before, std::int64_t after) const override {
    return turning_length(rope_, static_cast<double>(before)) == turning_length(rope_, static_cast<double>(after));
  }

 private:
  template <class Logits>
  static array whole(context& c, const Logits& logits) {
    named_scope scope(c, "output");
    return redistribute<uniform_layout_t<typename Plan::mesh, Invariant>>(c, logits).data();
  }

  io::rope_scaling rope_;
  parameter_store* store_;
  decoder<Plan, Model> decoder_;
};

}  // namespace plait::inline v0_1
