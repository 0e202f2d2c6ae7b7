# `cmake --install build/release [--prefix DIR]`: the broker, its unit, its configuration and its documents.
#
# The unit and the place of the configuration depend on the prefix, which is known only when it is installed. Under /usr
# and /usr/local the configuration is /etc/vigilmq/vigilmq.toml, where the broker looks by itself; elsewhere it lies
# under the prefix, and the unit names it. One that is there already belongs to the operator and is left alone.
include(GNUInstallDirs)

set(doc_dir ${CMAKE_INSTALL_DATAROOTDIR}/doc/vigilmq)
install(TARGETS vigilmq vigilmq-load RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
# As they lie in the source, so that they find each other.
install(FILES README.md CHANGELOG.md LICENSE DESTINATION ${doc_dir})
install(DIRECTORY docs/ DESTINATION ${doc_dir}/docs FILES_MATCHING PATTERN "*.md" PATTERN "*.tsv" PATTERN "*.svg")
install(FILES conf/vigilmq.toml DESTINATION ${doc_dir}/conf)

install(CODE "
  set(source [[${CMAKE_SOURCE_DIR}]])
  set(work [[${CMAKE_BINARY_DIR}]])
  set(bin_dir [[${CMAKE_INSTALL_BINDIR}]])
  set(doc_dir [[${doc_dir}]])")
install(SCRIPT cmake/install_service.cmake)
