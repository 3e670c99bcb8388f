#include "processes.hpp"

#include "gpus.hpp"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <new>

#include "plait/io/error.hpp"
#include "plait/process/run_process.hpp"
#include "plait/process/start_processes.hpp"
#include "plait/train/layout_text.hpp"

namespace trainer {
namespace {

using clock = std::chrono::steady_clock;

std::string prefix(const options& o) { return o.launch.several() ? "moe_trainer: rank " + std::to_string(o.launch.rank) + ": " : "moe_trainer: "; }

/// Every parameter's layouts, as one number.
std::string plan_hash(const session& s) {
  const plait::plan_table& table = s.table();
  std::string text;
  for (int column = 0; column <= table.numbers->count; ++column)
    for (int row = 0; row < table.row_count; ++row) {
      const plait::resolved_parameter& p = table.resolved[column * table.row_count + row];
      text += std::string(table.rows[row].name) + " " + plait::text_of(p.compute, {}) + " " + plait::text_of(p.storage, {}) + "\n";
    }
  return plait::io::digest_of_text(text).text();
}

}  // namespace

int start(char** argv, const options& o) {
  return plait::start_processes(argv, o.processes, o.deadline + 10, [](const std::string& line) {
    std::fflush(stdout);
    std::fprintf(stderr, "moe_trainer: %s\n", line.c_str());
  });
}

bool join(options& o) {
  if (!o.launch.several()) return true;
  if (o.run == command::explain || o.run == command::checkpoint) return o.leads();  // one process is enough
  take_gpu(o, o.launch.local_rank);
  const plait::backend& ops = backend(o.backend);
  const bool sockets = std::string(ops.name) == "cpu";
  o.world = std::make_shared<plait::process_world>(o.launch, sockets, o.deadline);
  const std::chrono::duration<double> limit(o.deadline);
  o.world->links().on_last_resort([rank = o.launch.rank, limit, first = clock::time_point()](const std::string& why, int code) mutable {
    if (first == clock::time_point()) first = clock::now();
    if (writing_after_failure && clock::now() - first < limit) return;  // called again
    std::fprintf(stderr, "moe_trainer: rank %d: %s; this process did not come to its end by itself\n", rank, why.c_str());
    ::_exit(code);
  });
  return true;
}

void require_same(const options& o, const std::string& what, const std::string& value) {
  if (o.world != nullptr) o.world->agree({{what, value}});
}

void require_agreement(const session& s) {
  if (s.o.world == nullptr) return;
  std::vector<std::pair<std::string, std::string>> facts = s.o.given;
  facts.emplace_back("--deadline", plait::process::seconds_text(s.o.deadline));
  facts.emplace_back("the configuration (digest of config.json)", plait::io::digest_of_text(s.config.raw_text).text());
  facts.emplace_back("the plan (digest of its parameters' layouts)", plan_hash(s));
  if (s.saved != nullptr) facts.emplace_back("the checkpoint that is read", s.saved->path + ", step " + std::to_string(s.saved->m.training.step));
  s.o.world->agree(facts);
}

int exit_code_of(std::exception_ptr why) {
  try {
    std::rethrow_exception(why);
  } catch (const usage_error&) {
    return 2;
  } catch (const plait::launch_error&) {
    return 2;
  } catch (const plait::io::input_error&) {
    return 2;
  } catch (const plait::plan_misfit&) {
    return 2;
  } catch (const plait::process_failed& e) {
    return e.exit_code;
  } catch (...) {
    return 1;
  }
}

int report_failure(const options& o, std::exception_ptr why) {
  const int code = exit_code_of(why);
  const std::string mine = "rank " + std::to_string(o.launch.rank) + ": ";
  std::string text = "an unknown exception", begin = prefix(o);
  try {
    std::rethrow_exception(why);
  } catch (const plait::process_failed& e) {
    text = e.what();
    // Bad input that another rank has found: its own words are enough.
    const std::string first = o.world != nullptr && code == 2 ? o.world->links().failure() : "";
    if (!first.empty() && !first.starts_with(mine)) text = first, begin = "moe_trainer: ";
  } catch (const std::bad_alloc&) {
    text = "out of memory; use more ranks, a smaller batch or --recompute layer";
  } catch (const std::exception& e) {
    text = e.what();
  } catch (...) {
  }
  if (text.starts_with(mine)) text.erase(0, mine.size());  // said by the meeting
  if (o.world != nullptr) o.world->links().fail(mine + text, code);
  std::fflush(stdout);
  std::fprintf(stderr, "%s%s\n", begin.c_str(), text.c_str());
  return code;
}

void run_ranks(const session& s, const std::function<void(plait::context&)>& body) {
  const options& o = s.o;
  const plait::backend& ops = backend(o.backend);
  if (const std::string note = gpu_note(o); !note.empty() && o.leads()) std::fprintf(stderr, "moe_trainer: note: %s\n", note.c_str());
  std::unique_ptr<plait::rank_fabric> fabric = gpu_fabric(o);
  if (fabric == nullptr && o.world != nullptr) fabric = std::make_unique<plait::socket_fabric>(*o.world, o.mesh, ops, exit_code_of);
  if (fabric == nullptr) plait::run_ranks(o.mesh, ops, body, plait::rank_options{o.check});
  else if (o.world == nullptr) plait::run_ranks_over(*fabric, o.mesh, ops, 0, o.mesh.ranks(), body);
  else plait::run_process(*o.world, *fabric, o.mesh, ops, body);
}

std::string ranks_text(const options& o) {
  if (o.mesh.ranks() == 1) return "1 rank" + gpu_text(o);
  return std::to_string(o.mesh.ranks()) + (o.world != nullptr ? " ranks as processes (" + o.launch.by + ")" : " ranks as threads") + gpu_text(o);
}

}  // namespace trainer
