// Several lambdas as one function object, for std::visit: the call goes to the lambda that fits the argument best.
//
//   std::visit(Overloaded{[](const A& a) {...}, [](const B& b) {...}}, variant);
//
// A case that is missing does not compile, unless a lambda with `auto` catches it.
#pragma once

namespace vigil::base {

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};

}  // namespace vigil::base
