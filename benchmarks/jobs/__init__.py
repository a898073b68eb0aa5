"""The registry of jobs: a new one is a module here that exports JOBS, named in the line below."""

from jobs import images, mcmc, moons, predict, sgmcmc, uci
from jobs.spec import Job

REGISTRY: dict[str, Job] = {
    job.name: job for module in (moons, predict, uci, images, mcmc, sgmcmc) for job in module.JOBS
}


def select(names: list[str]) -> list[Job]:
    """The jobs that `names` mean: a job, a family ("moons" for all "moons-..."), or "all"."""
    chosen: dict[str, Job] = {}
    for name in names:
        found = {
            job.name: job
            for job in REGISTRY.values()
            if name == "all" or job.name == name or job.name.startswith(f"{name}-")
        }
        if not found:
            raise ValueError(f"no job {name!r}; there are: all, {', '.join(REGISTRY)}")
        chosen |= found
    return list(chosen.values())
