// Expected failures are values: Result<T, E>, Err(e), TRY(...).
#pragma once

#include <expected>
#include <utility>

namespace vigil::base {

template <class T, class E>
using Result = std::expected<T, E>;

template <class E>
auto Err(E&& error) {
  return std::unexpected<std::decay_t<E>>(std::forward<E>(error));
}

}  // namespace vigil::base

// TRY(auto x, expression): x is the value, or the enclosing function returns the error.
// NOLINTBEGIN(cppcoreguidelines-macro-usage): returns from the enclosing function
#define VIGIL_CONCAT_(a, b) a##b
#define VIGIL_CONCAT(a, b) VIGIL_CONCAT_(a, b)
#define VIGIL_TRY_(result, declaration, ...)                      \
  auto result = (__VA_ARGS__);                                    \
  if (!result) return std::unexpected(std::move(result).error()); \
  declaration = std::move(*result)
#define TRY(declaration, ...) VIGIL_TRY_(VIGIL_CONCAT(try_result_, __LINE__), declaration, __VA_ARGS__)
// TRY_VOID(expression): the same for a result without a value, or one that is not wanted.
#define TRY_VOID(...)                                                                                        \
  do {                                                                                                       \
    if (auto try_result = (__VA_ARGS__); !try_result) return std::unexpected(std::move(try_result).error()); \
  } while (false)
// NOLINTEND(cppcoreguidelines-macro-usage)
