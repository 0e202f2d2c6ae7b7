// Containers that are small while they are empty: for what there are many of, and most have none.
#pragma once

#include <cstdint>
#include <functional>

#include <boost/container/devector.hpp>
#include <boost/container/flat_set.hpp>
#include <boost/container/vector.hpp>

namespace vigil::base {

// As std::vector, in 16 bytes.
template <class T>
using CompactVector =
    boost::container::vector<T, boost::container::new_allocator<T>,
                             boost::container::vector_options<boost::container::stored_size<std::uint32_t>>::type>;

template <class T>
using CompactSet = boost::container::flat_set<T, std::less<T>, CompactVector<T>>;

// Grows and shrinks at both ends, in 24 bytes; nothing is allocated while it is new.
template <class T>
using CompactQueue =
    boost::container::devector<T, boost::container::new_allocator<T>,
                               boost::container::devector_options<boost::container::stored_size<std::uint32_t>>::type>;

}  // namespace vigil::base
