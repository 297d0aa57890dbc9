"""What is reported to AWS Marketplace, and what becomes of those whose subscription does not stand.

``standing``  refuses launches, and pauses what runs
``periods``   from when until when an organization's usage is reported to a subscription
``hours``     the records of hours that are over, made once and never changed
``sending``   hands them over until each has its answer, or is too late
``aws``       one call of BatchMeterUsage
"""
