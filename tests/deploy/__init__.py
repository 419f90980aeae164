"""Tests of `deploy/`: they build the image, and run its container as the manifests say.

Neither a container engine nor a cluster is required: Linux namespaces isolate the processes.

    manifests.py         the objects that kustomize renders
    sandbox.py           runs a command in a root file system, in namespaces of its own
    image.py             builds the root file system of the Dockerfile
    pod.py               a pod: the container of a Deployment, with its user, mounts and environment
    kubelet.py           the probes of a pod, and its termination
    clients.py           requests that a pod gets during a test
    conftest.py          the image and the running pods
    test_manifests.py    schemas, selectors, security, timeouts and resources of the manifests
    test_dockerfile.py   the build context, and the image
    test_pod.py          start, probes, cache and termination of a pod under load
    test_metrics.py      metric names of the manifests, evaluated on a scrape
"""
