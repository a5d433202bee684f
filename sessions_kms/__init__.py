from sessions_kms.old_paths import OLD_PATHS, OldPaths

OldPaths(__name__, OLD_PATHS).install()
