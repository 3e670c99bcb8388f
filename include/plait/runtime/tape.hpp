#pragma once
// Reverse mode: each op that is differentiated leaves its pullback here; backward runs them in reverse, dropping each one (and the
// tensors it saved) once it has run.
#include <memory>
#include <utility>
#include <vector>

namespace plait::inline v0_1 {

struct context;

class tape {
 public:
  template <class Pullback>
  void push(Pullback pullback) {
    nodes_.push_back(std::make_unique<node_of<Pullback>>(std::move(pullback)));
  }
  void backward(context& c) {
    while (!nodes_.empty()) {
      std::unique_ptr<node> last = std::move(nodes_.back());
      nodes_.pop_back();
      last->run(c);
    }
  }
  void clear() { nodes_.clear(); }
  std::size_t size() const { return nodes_.size(); }

 private:
  struct node {
    virtual ~node() = default;
    virtual void run(context&) = 0;
  };
  template <class Pullback>
  struct node_of final : node {
    explicit node_of(Pullback p) : pullback(std::move(p)) {}
    void run(context& c) override { pullback(c); }
    Pullback pullback;
  };
  std::vector<std::unique_ptr<node>> nodes_;
};

}  // namespace plait::inline v0_1
