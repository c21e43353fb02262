{{ config(
    materialized='incremental',
    unique_key='customer_id',
    incremental_strategy='merge',
    indexes=[
        {'columns': ['customer_id'], 'unique': true},
        {'columns': ['updated_at']},
        {'columns': ['loaded_at']},
    ],
) }}

select
    customer_id,
    plan,
    updated_at,
    current_timestamp as loaded_at
from {{ source('raw', 'customers') }}
{% if is_incremental() %}
where updated_at > (select max(updated_at) from {{ this }})
{% endif %}
