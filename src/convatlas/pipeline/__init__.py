"""The main job: choose, train, evaluate, explain, deploy, report."""
