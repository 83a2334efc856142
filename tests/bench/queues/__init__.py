"""What the rows of work queues run: processes of a queue, of workers and of a server behind them.

    processes       children of the client, so that their processor time counts
    redis, postgres servers of their own for a run
    our_queue, our_worker, celery_app, saq_worker      what those children are

The client, who brings the jobs, is a peer as all others: ours_queue, celery_redis, saq_both.
"""
