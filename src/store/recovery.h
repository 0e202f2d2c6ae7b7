// Reads a store from front to back when the broker starts.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"
#include "broker/change.h"
#include "store/database.h"
#include "store/references.h"
#include "store/run_index.h"

namespace vigil::store {

// Hands out all presence, all retained messages, and all sessions in the order of their keys. Counts the references of
// shared messages, fills the index of runs, and deletes what belongs to no session and what has expired of the retained
// messages. Records that cannot be read are left out, with a notice.
base::Result<void, std::string> recover(Database& database, References& references, RunIndex& runs,
                                        const broker::Moment& now, const Notice& notice,
                                        const std::function<void(broker::RecoveredFact&&)>& give);

}  // namespace vigil::store
