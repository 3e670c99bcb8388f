#pragma once
// Saving a run: each rank writes its own shards from a copy in host memory, on a thread of its own; rank 0 makes the result visible
// when every rank's files are on the device. Nothing here depends on the plan's type.
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>

#include "plait/io/checkpoint_store.hpp"
#include "plait/train/checkpoint_files.hpp"
#include "plait/train/finite.hpp"
#include "plait/train/gather_texts.hpp"
#include "plait/train/write_blocks.hpp"
#include "plait/version.hpp"

namespace plait::inline v0_1 {

/// What a save says about the run.
struct save_facts {
  io::training_state training;
  std::string family, plan, element_types;
  std::vector<std::string> axes;
  std::vector<std::pair<std::string, std::string>> files;  ///< name and bytes: config.json and the like, kept beside the tensors
};

struct save_outcome {
  std::int64_t step = 0;
  std::string error;  ///< empty: the checkpoint is visible and durable
  std::uint64_t bytes = 0;
  double seconds = 0;
};

struct save_options {
  std::int64_t block_bytes = io::default_block_bytes;
  std::int64_t keep = 0;  ///< how many checkpoints stay; 0: all
};

/// One a rank. Every rank must call the same functions at the same places. A save that fails leaves the run and the older checkpoints
/// as they were; its outcome says why, the same on every rank. Kept beyond the ranks' run, it can end a save that the run did not.
class checkpoint_saver {
 public:
  /// `folder`: where checkpoints lie. `store` is used by rank 0 alone and must outlive the saver.
  checkpoint_saver(io::checkpoint_store* store, std::string folder, save_options options = {})
      : store_(store), folder_(std::move(folder)), options_(options) {}
  checkpoint_saver(const checkpoint_saver&) = delete;
  checkpoint_saver& operator=(const checkpoint_saver&) = delete;
  ~checkpoint_saver() {
    if (thread_.joinable()) thread_.join();
  }

  bool in_flight() const { return begun_; }
  /// From now on no older checkpoint is removed: for a run that ends in an error, whose last states may be worse than those before.
  void keep_all() { options_.keep = 0; }

  /// Copies the state and starts to write it. Wait for an earlier save first (finish). The outcome is empty unless the save could
  /// not even begin.
  std::optional<save_outcome> begin(context& c, const parameter_store& parameters, const save_facts& facts) {
    if (begun_) throw std::logic_error("plait: a save is in flight; finish it before the next");
    started_ = std::chrono::steady_clock::now();
    step_ = facts.training.step;
    std::string problem;
    if (c.rank == 0) {
      planned_ = plan_manifest(parameters, c.mesh, facts.axes);
      planned_.written_by = version_text();
      planned_.training = facts.training;
      planned_.family = facts.family;
      planned_.plan = facts.plan;
      planned_.element_types = facts.element_types;
      planned_.block_bytes = options_.block_bytes;
      for (const auto& [name, text] : facts.files) planned_.files.push_back({name, text.size(), 0, {}});
      try {
        store_->begin(step_, planned_.bytes() + planned_.bytes() / 64 + (1u << 16));
      } catch (const io::output_error& e) {
        problem = e.what();
      }
    }
    problem = gather_texts(c, problem)[0];
    if (!problem.empty()) return ended(problem);

    files_ = files_of_rank(parameters, c.mesh, c.rank);
    extra_.clear();
    if (c.rank == 0) extra_ = facts.files;
    copy_state(c, parameters);
    begun_ = true;
    done_.store(false, std::memory_order_relaxed);
    thread_ = std::thread([this] {
      write_files();
      done_.store(true, std::memory_order_release);
    });
    return std::nullopt;
  }

  /// Asks, without waiting for the disk, whether every rank has written; if so the save is finished.
  std::optional<save_outcome> poll(context& c) {
    if (!begun_) return std::nullopt;
    for (const std::string& state : gather_texts(c, done_.load(std::memory_order_acquire) ? "1" : ""))
      if (state.empty()) return std::nullopt;
    return finish(c);
  }

  /// Waits for the save in flight, if any.
  std::optional<save_outcome> finish(context& c) {
    if (!begun_) return std::nullopt;
    if (thread_.joinable()) thread_.join();
    const std::vector<std::string> reports = gather_texts(c, report_);
    std::string problem;
    if (c.rank == 0) {
      problem = commit(reports);
      begun_ = false;
    }
    problem = gather_texts(c, problem)[0];
    begun_ = false;
    return ended(problem);
  }

  /// Ends the save in flight, if any, of a run that has failed, without the other ranks' communicators: its state was copied before. Each
  /// rank waits for its own files and leaves their digests beside them; rank 0 gives the others `patience` seconds for that, then makes the
  /// checkpoint visible or gives it up. The outcome is rank 0's alone. Of savers in one thread, rank 0's must be the last.
  std::optional<save_outcome> finish_alone(int rank, int ranks, double patience) {
    if (!std::exchange(begun_, false)) return std::nullopt;
    if (thread_.joinable()) thread_.join();
    const auto note_of = [&](int r) { return partial() + ".written-" + io::zero_padded(static_cast<std::size_t>(r) + 1, 5); };
    try {
      if (rank != 0) {
        io::write_text_file(note_of(rank), report_);
        return std::nullopt;
      }
      std::vector<std::string> reports = {report_};
      const auto begun = std::chrono::steady_clock::now();
      for (int r = 1; r < ranks; ++r) {
        while (::access(note_of(r).c_str(), R_OK) != 0) {
          if (std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count() > patience)
            throw std::runtime_error("rank " + std::to_string(r) + " failed before it had written its part");
          std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        reports.push_back(io::read_text_file(note_of(r), std::uint64_t{1} << 32));
        io::writes().remove_file(note_of(r).c_str());
      }
      return ended(commit(reports));
    } catch (const std::exception& e) {
      if (rank != 0) return std::nullopt;  // rank 0 says so
      store_->abandon(step_);
      return ended(e.what());
    }
  }

 private:
  static std::string version_text() {
    return "plait " + std::to_string(PLAIT_VERSION_MAJOR) + "." + std::to_string(PLAIT_VERSION_MINOR) + "." + std::to_string(PLAIT_VERSION_PATCH);
  }
  std::string partial() const { return folder_ + "/." + io::step_folder_name(step_) + ".partial/"; }
  save_outcome ended(const std::string& problem) const {
    return {step_, problem, planned_.bytes(), std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count()};
  }

  /// This rank's shards, by role, in host memory that is kept for the next save.
  void copy_state(context& c, const parameter_store& parameters) {
    state_.resize(parameters.slots.size() * role_count);
    shapes_.clear();
    std::vector<bool> written(parameters.slots.size());
    for (const planned_file& f : files_)
      for (const planned_tensor& t : f.tensors) written[static_cast<std::size_t>(t.slot)] = true;
    for (std::size_t i = 0; i < parameters.slots.size(); ++i) {
      const parameter_slot& s = parameters.slots[i];
      shapes_.push_back(s.storage_local);
      for (const kept_role& kept : roles_of(parameters.types, s)) {
        std::vector<char>& to = state_[i * role_count + static_cast<std::size_t>(kept.role)];
        if (!written[i]) continue;
        const view& from = memory_of(s, kept.role);
        view wanted = from;
        wanted.type = kept.type;
        to.resize(wanted.bytes());
        if (from.type == wanted.type) {
          c.ops->copy(c.exec, to.data(), from.data, to.size());
        } else {
          std::shared_ptr<buffer> memory;
          wanted = detail::allocate(c, wanted, memory);
          c.ops->cast(c.exec, from, wanted);
          c.ops->copy(c.exec, to.data(), wanted.data, to.size());
        }
      }
    }
  }

  /// On the writing thread. The report: "!" and what went wrong, or a line a file with its name and its blocks' digests.
  void write_files() {
    report_.clear();
    bool finite = true;
    const std::string folder = partial();
    try {
      const auto note = [&](const std::string& name, const std::vector<io::digest>& blocks) {
        report_ += name + " ";
        for (const io::digest& d : blocks) report_ += d.text();
        report_ += "\n";
      };
      for (const planned_file& f : files_) {
        detail::block_writer out(folder + f.name, options_.block_bytes);
        out.write(f.header.data(), f.header.size());
        for (const planned_tensor& t : f.tensors) {
          const auto slot = static_cast<std::size_t>(t.slot);
          const bool weight = t.kept.role == io::tensor_role::parameter || t.kept.role == io::tensor_role::master;
          detail::rows_of_box(shapes_[slot], t.part, size_of(t.kept.type), state_[slot * role_count + static_cast<std::size_t>(t.kept.role)].data(),
                              [&](const char* data, std::size_t bytes) {
                                out.write(data, bytes);
                                finite = finite && (!weight || all_finite(t.kept.type, data, bytes));
                              });
        }
        out.finish();
        note(f.name, out.blocks());
      }
      for (const auto& [name, text] : extra_) {
        detail::block_writer out(folder + name, options_.block_bytes);
        out.write(text.data(), text.size());
        out.finish();
        note(name, out.blocks());
      }
      if (!finite) note(not_finite, {});
    } catch (const std::exception& e) {
      report_ = std::string("!") + e.what();
    }
  }

  /// On rank 0: what went wrong, or nothing.
  std::string commit(const std::vector<std::string>& reports) {
    try {
      std::map<std::string, std::string> digests;
      for (std::size_t r = 0; r < reports.size(); ++r)
        if (reports[r].starts_with('!')) throw std::runtime_error("rank " + std::to_string(r) + ": " + reports[r].substr(1));
      for (const std::string& report : reports)
        for (std::size_t at = 0; at < report.size();) {
          const std::size_t space = report.find(' ', at), end = report.find('\n', at);
          digests[report.substr(at, space - at)] = report.substr(space + 1, end - space - 1);
          at = end + 1;
        }
      for (io::stored_file& f : planned_.files) {
        const std::string& text = digests.at(f.name);
        for (std::size_t at = 0; at < text.size(); at += io::digest::digits) f.blocks.push_back(*io::digest::of_text(text.substr(at, io::digest::digits)));
      }
      store_->commit(planned_);
      if (options_.keep > 0 && !digests.contains(not_finite)) store_->prune(options_.keep);  // a run that diverges keeps what was before
      return "";
    } catch (const std::exception& e) {
      store_->abandon(step_);
      return e.what();
    }
  }

  static constexpr const char* not_finite = "?";  // in a report, in the place of a file: weights that are not finite were written

  io::checkpoint_store* store_;
  std::string folder_;
  save_options options_;
  std::thread thread_;
  std::atomic<bool> done_{false};
  bool begun_ = false;
  std::int64_t step_ = 0;
  std::chrono::steady_clock::time_point started_{};
  io::manifest planned_;  // rank 0
  std::vector<planned_file> files_;
  std::vector<std::pair<std::string, std::string>> extra_;
  std::vector<view> shapes_;
  static constexpr std::size_t role_count = std::size(io::all_roles);
  std::vector<std::vector<char>> state_;  // of slot i in role r: at i * role_count + r
  std::string report_;
};

}  // namespace plait::inline v0_1
