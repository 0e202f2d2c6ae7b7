# Runs at installation; cmake/install.cmake sets source, work, bin_dir and doc_dir.
set(VIGILMQ ${CMAKE_INSTALL_PREFIX}/${bin_dir}/vigilmq)
set(DOCUMENTATION ${CMAKE_INSTALL_PREFIX}/${doc_dir}/docs/operating.md)
if(CMAKE_INSTALL_PREFIX STREQUAL "/usr" OR CMAKE_INSTALL_PREFIX STREQUAL "/usr/local")
  set(conf_dir /etc/vigilmq)
  set(OPTIONS "")
else()
  set(conf_dir ${CMAKE_INSTALL_PREFIX}/etc/vigilmq)
  set(OPTIONS " --config ${conf_dir}/vigilmq.toml")
endif()

configure_file(${source}/packaging/vigilmq.service.in ${work}/vigilmq.service @ONLY)
file(INSTALL ${work}/vigilmq.service DESTINATION ${CMAKE_INSTALL_PREFIX}/lib/systemd/system
     PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)

if(EXISTS $ENV{DESTDIR}${conf_dir}/vigilmq.toml)
  message(STATUS "Left as it is: $ENV{DESTDIR}${conf_dir}/vigilmq.toml")
else()
  file(INSTALL ${source}/conf/vigilmq.toml DESTINATION ${conf_dir})
endif()
