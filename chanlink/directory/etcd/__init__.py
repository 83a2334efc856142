"""A store of entries in etcd (3.4 or newer), which any number of directories share.

    gateway     one request or stream of answers, by whichever server of etcd answers
    layout      which keys of etcd are what, and what their values hold
    replica     what there is, as far as this process has heard
    watching    the task that hears it
    store       `EtcdStore`: the five verbs

Three kinds of keys, below one prefix: ``owners/NAME`` says whose a name is, and every change of a name is a transaction
that compares its revision; ``entries/NAME/KEY`` is an entry, bound to a lease of etcd, which ends it wherever the
directory that wrote it is by then; ``names/KEY/NAME`` counts how many names a key has.

What is looked up is read from memory, as long as etcd is heard and for some seconds afterwards, and from etcd
otherwise. So an answer may lack what was registered at another directory in the moment before. It never lacks what was
registered at this one.
"""
