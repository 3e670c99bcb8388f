#pragma once
// Saving a run: each rank writes its own shards from a copy in host memory, on a thread of its own; rank 0 makes the result visible
// when every rank's files are on the device. Nothing here depends on the plan's type.
#include <chrono>
#include <cstring>
#include <optional>
#include <thread>

#include "plait/io/checkpoint_store.hpp"
#include "plait/train/checkpoint_files.hpp"
#include "plait/train/gather_texts.hpp"
#include "plait/version.hpp"

namespace plait::inline v0_1 {
namespace detail {

/// Writes a file block by block, with a digest of each.
class block_writer {
 public:
  block_writer(const std::string& path, std::int64_t block) : file_(path) { buffer_.reserve(static_cast<std::size_t>(block)); }
  void write(const void* data, std::size_t count) {
    const char* from = static_cast<const char*>(data);
    while (count > 0) {
      const std::size_t part = std::min(count, buffer_.capacity() - buffer_.size());
      buffer_.insert(buffer_.end(), from, from + part);
      from += part;
      count -= part;
      if (buffer_.size() == buffer_.capacity()) flush();
    }
  }
  void finish() {
    if (!buffer_.empty()) flush();
    file_.finish();
  }
  const std::vector<io::digest>& blocks() const { return blocks_; }

 private:
  void flush() {
    blocks_.push_back(io::digest_of(buffer_.data(), buffer_.size()));
    file_.write(buffer_.data(), buffer_.size());
    buffer_.clear();
  }
  io::new_file file_;
  std::vector<char> buffer_;
  std::vector<io::digest> blocks_;
};

/// Whether none of these floating-point numbers is infinite or NaN.
inline bool all_finite(dtype type, const char* data, std::size_t bytes) {
  const auto check = [&]<class Word>(Word exponent) {
    for (std::size_t at = 0; at + sizeof(Word) <= bytes; at += sizeof(Word)) {
      Word word;
      std::memcpy(&word, data + at, sizeof word);
      if ((word & exponent) == exponent) return false;
    }
    return true;
  };
  if (type == dtype::f64) return check(std::uint64_t{0x7ff} << 52);
  return type == dtype::bf16 ? check(std::uint16_t{0x7f80}) : check(std::uint32_t{0x7f800000});
}

/// Hands the rows of a box of a row-major shard to `sink`, in order.
template <class Sink>
void rows_of_box(const view& shard, const shard_box& part, std::size_t element, const char* data, Sink sink) {
  std::int64_t run = 1;
  int outer = shard.rank;
  while (outer > 0) {
    --outer;
    run *= part.box.count[static_cast<std::size_t>(outer)];
    if (part.box.count[static_cast<std::size_t>(outer)] != shard.extent[outer]) break;
  }
  std::int64_t at[4] = {};
  while (true) {
    std::int64_t offset = 0;
    for (int d = 0; d < shard.rank; ++d) offset = offset * shard.extent[d] + at[d];
    sink(data + static_cast<std::size_t>(part.offset + offset) * element, static_cast<std::size_t>(run) * element);
    int d = outer;
    while (d > 0 && ++at[d - 1] == part.box.count[static_cast<std::size_t>(d - 1)]) at[--d] = 0;
    if (d == 0) return;
  }
}

}  // namespace detail

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
/// as they were; its outcome says why, the same on every rank.
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
    thread_.join();
    begun_ = false;
    std::string problem;
    const std::vector<std::string> reports = gather_texts(c, report_);
    for (std::size_t r = 0; r < reports.size() && problem.empty(); ++r)
      if (reports[r].starts_with('!')) problem = "rank " + std::to_string(r) + ": " + reports[r].substr(1);
    if (c.rank == 0 && !problem.empty()) store_->abandon(step_);
    if (problem.empty()) {
      if (c.rank == 0) problem = commit(reports);
      problem = gather_texts(c, problem)[0];
    }
    return ended(problem);
  }

 private:
  static std::string version_text() {
    return "plait " + std::to_string(PLAIT_VERSION_MAJOR) + "." + std::to_string(PLAIT_VERSION_MINOR) + "." + std::to_string(PLAIT_VERSION_PATCH);
  }
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
    const std::string folder = folder_ + "/." + io::step_folder_name(step_) + ".partial/";
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
                                finite = finite && (!weight || detail::all_finite(t.kept.type, data, bytes));
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
