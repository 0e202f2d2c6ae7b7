// `vigilmq store export`, `import` and `backup`: a whole store from one place to another. Each returns the exit status
// of the command; errors are sentences on `err`.
#pragma once

#include <filesystem>
#include <istream>
#include <ostream>

namespace vigil::store {

class StoreReader;

// JSON lines on `out`, and a last one that counts them. 1 as well where something had to be left out. That `out` fails
// is for the caller to notice.
int export_store(StoreReader& from, std::ostream& out, std::ostream& err);

// Makes a store of such lines in a directory that is empty or not there. Before the last line is read and found right
// nothing can take the directory for a store; on any error it is left as it was.
int import_store(const std::filesystem::path& to, std::istream& in, std::ostream& err);

// Copies the files of the store into a directory that is empty or not there. The copy is on the disk, and was opened
// once, when this returns 0. On any error the directory is left as it was.
int back_up(StoreReader& from, const std::filesystem::path& to, std::ostream& out, std::ostream& err);

}  // namespace vigil::store
