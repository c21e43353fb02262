{{ config(materialized='table') }}

select
    product,
    count(*) as orders,
    sum(amount) as revenue,
    max(ordered_at) as ordered_at,
    current_timestamp as loaded_at
from {{ source('raw', 'orders') }}
group by product
