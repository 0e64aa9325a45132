"""`sekha-bridge migrate-env`: makes the YAML that replaces v1's environment variables.

    source (env_file, compose_file, yaml_file) → variables
    settings_tree: variables → one tree with v1's names
    mapping (ollama, providers, sections): that tree → a tree with the bridge's names
    validity: removes what the bridge would refuse
    yaml_writer: the text

Every part adds what it leaves out, and why, to one `Report`.
"""
