#pragma once
// A decoder instantiated for one plan and model, behind the any_model interface.
#include "plait/model/decoder.hpp"
#include "plait/train/step.hpp"

namespace plait::inline v0_1 {

template <class Plan, class Model>
class decoder_model final : public any_model {
 public:
  decoder_model(const io::model_config& config, parameter_store& store, decoder_options options)
      : store_(&store), decoder_(config, store, options) {}

  slice_result run(context& c, const batch& slice, const loss_scale* scale, bool train, bool want_logits) override {
    tape recorded;
    const scoped_value<tape*> recording(c.recording, train ? &recorded : nullptr);
    auto out = decoder_.forward(c, slice, scale);
    slice_result r;
    if (want_logits) {
      const scoped_value<tape*> unrecorded(c.recording, nullptr);
      named_scope scope(c, "output");
      r.logits = redistribute<uniform_layout_t<typename Plan::mesh, Invariant>>(c, out.logits).data();
    }
    if (scale != nullptr) {
      r.loss = value_of(c, out.loss->data());
      if (out.aux_loss) r.aux_loss = value_of(c, out.aux_loss->data());
      if (out.statistics) {
        const array& s = out.statistics->data();
        for (std::int64_t e = 0; e < s.local.extent[1]; ++e) r.expert_choices.push_back(element(c, s, e));
      }
    }
    if (train) backward(c, *out.loss);
    store_->drop_all();
    return r;
  }

 private:
  static double element(context& c, const array& a, std::int64_t i) {
    double wide = 0;
    float narrow = 0;
    void* const to = a.type() == dtype::f64 ? static_cast<void*>(&wide) : static_cast<void*>(&narrow);
    const std::size_t size = size_of(a.type());
    c.ops->copy(c.exec, to, static_cast<const char*>(a.local.data) + static_cast<std::size_t>(i) * size, size);
    return a.type() == dtype::f64 ? wide : static_cast<double>(narrow);
  }
  static double value_of(context& c, const array& a) { return element(c, a, 0); }

  parameter_store* store_;
  decoder<Plan, Model> decoder_;
};

}  // namespace plait::inline v0_1
