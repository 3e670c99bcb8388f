#pragma once
// A folder of checkpoints as its one writer sees it: step-XXXXXXXX appears whole or not at all, whatever happens to the process.
#include <sys/file.h>
#include <sys/statvfs.h>

#include <string>
#include <vector>

#include "plait/io/checkpoint.hpp"

namespace plait::inline v0_1::io {

/// Holds the folder's lock from construction on, and removes what a run that died has left.
class checkpoint_store {
 public:
  /// Creates the folder if it is missing (its parent must be there). Throws input_error if another process saves there.
  explicit checkpoint_store(std::string path) : path_(std::move(path)) {
    while (path_.size() > 1 && path_.back() == '/') path_.pop_back();
    if (writes().make_folder(path_.c_str()) != 0 && errno != EEXIST) throw output_error(path_, "creating the folder", detail::system_text(errno));
    const std::string lock = path_ + "/.lock";
    const int fd = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) throw output_error(lock, "opening the lock file", detail::system_text(errno));
    lock_ = detail::descriptor(fd);
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) throw output_error(lock, "locking", detail::system_text(errno));
      char owner[32] = {};
      const ssize_t got = ::pread(fd, owner, sizeof owner - 1, 0);
      throw input_error(path_, "", "another process " + (got > 0 ? "(" + printable(owner, 30) + ") " : std::string()) + "saves there; end it or choose another folder");
    }
    const std::string owner = "process " + std::to_string(::getpid());
    if (::ftruncate(fd, 0) != 0 || ::pwrite(fd, owner.data(), owner.size(), 0) < 0) {
    }  // the text only helps people; the lock is held without it
    remove_leftovers();
  }

  const std::string& path() const { return path_; }
  std::vector<std::int64_t> steps() const { return steps_in(path_); }
  std::string partial(std::int64_t step) const { return path_ + "/." + step_folder_name(step) + ".partial"; }
  std::string final_path(std::int64_t step) const { return path_ + "/" + step_folder_name(step); }

  /// Makes the folder in which a checkpoint of about `bytes` bytes grows.
  void begin(std::int64_t step, std::uint64_t bytes) {
    if (detail::is_folder(final_path(step)))
      throw output_error(final_path(step), "saving", "it is there already, and a checkpoint is never overwritten; remove it or choose another folder");
    struct statvfs space {};
    if (::statvfs(path_.c_str(), &space) == 0) {
      const std::uint64_t free = static_cast<std::uint64_t>(space.f_bavail) * static_cast<std::uint64_t>(space.f_frsize);
      if (free < bytes)
        throw output_error(path_, "saving step " + std::to_string(step),
                           "it needs " + std::to_string(bytes) + " bytes, " + std::to_string(free) + " are free; make room or choose another folder");
    }
    if (writes().make_folder(partial(step).c_str()) != 0) throw output_error(partial(step), "creating the folder", detail::system_text(errno));
  }
  /// All files are there and durable: checks that, writes the manifest and makes the checkpoint visible.
  void commit(const manifest& m) {
    const std::string folder = partial(m.training.step), final = final_path(m.training.step);
    for (const stored_file& f : m.files) {
      std::uint64_t size = 0;
      if (!detail::is_regular(folder + "/" + f.name, size) || size != f.bytes)
        throw output_error(folder + "/" + f.name, "saving", "another rank wrote it, but it is not seen here with its " + std::to_string(f.bytes) + " bytes; is the folder shared by all ranks?");
    }
    for (const stored_tensor& t : m.tensors) require_tiling(folder, t);
    {
      new_file file(folder + "/" + manifest_name);
      file.write(manifest_text(m));
      file.finish();
    }
    sync_folder(folder);
    if (writes().rename(folder.c_str(), final.c_str()) != 0) throw output_error(final, "renaming", detail::system_text(errno));
    sync_folder(path_);
  }
  /// Gives a checkpoint up that was begun.
  void abandon(std::int64_t step) { remove_folder(partial(step)); }

  /// Removes the oldest until `keep` are left; the newest valid one always stays. Returns what was removed.
  std::vector<std::int64_t> prune(std::int64_t keep) {
    std::vector<std::int64_t> all = steps(), removed;
    if (keep < 1 || static_cast<std::int64_t>(all.size()) <= keep) return removed;
    for (std::size_t i = 0; i + static_cast<std::size_t>(keep) < all.size(); ++i) {
      const std::string hidden = path_ + "/." + step_folder_name(all[i]) + ".removed";
      if (writes().rename(final_path(all[i]).c_str(), hidden.c_str()) != 0) continue;
      remove_folder(hidden);
      removed.push_back(all[i]);
    }
    return removed;
  }

 private:
  void remove_leftovers() {
    for (const std::string& name : names_in(path_))
      if (name.starts_with(".step-") && (name.ends_with(".partial") || name.ends_with(".removed"))) remove_folder(path_ + "/" + name);
  }
  /// The folder and the files in it; a checkpoint has no folders inside.
  static void remove_folder(const std::string& folder) {
    for (const std::string& name : names_in(folder)) writes().remove_file((folder + "/" + name).c_str());
    writes().remove_folder(folder.c_str());
  }

  std::string path_;
  detail::descriptor lock_;
};

}  // namespace plait::inline v0_1::io
